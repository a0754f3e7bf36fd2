//! Compiled shaders, made once each and in parallel, and kept on disk where the driver can take them up again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use inferrum_backend::{BackendError, Cache};

use crate::gpu::Gpu;
use crate::shader::Shader;

/// What decides a pipeline: the shader and what is bound to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) shader: Shader,
    /// Whether there are parameters at binding 0.
    pub(crate) params: bool,
    /// Whether each buffer from binding 1 on is written.
    pub(crate) written: Vec<bool>,
}

/// A compiled shader.
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// The pipelines of a device.
pub(crate) struct Pipelines {
    made: Mutex<HashMap<Key, Arc<Pipeline>>>,
    kept: Option<Kept>,
}

/// What the driver makes of shaders, on disk.
struct Kept {
    pipelines: wgpu::PipelineCache,
    cache: Cache,
    name: String,
    key: String,
}

impl Kept {
    /// What an earlier process kept of this adapter and driver; None where the driver keeps nothing.
    fn open(gpu: &Gpu, info: &wgpu::AdapterInfo, cache: Cache) -> Option<Kept> {
        if !gpu.features.contains(wgpu::Features::PIPELINE_CACHE) || cache.folder().is_none() {
            return None;
        }
        let name = wgpu::util::pipeline_cache_key(info)?;
        let key = format!("{} {} {}", info.name, info.driver, info.driver_info);
        let data = cache.get(&name, &key);
        let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: data.as_deref(), fallback: true };
        // SAFETY: the data are what `get_data` gave for this adapter and driver: `Cache` returns only whole entries, by
        // checksum, that were kept under the same key.
        let pipelines = unsafe { gpu.device.create_pipeline_cache(&descriptor) };
        Some(Kept { pipelines, cache, name, key })
    }

    fn put(&self) {
        if let Some(data) = self.pipelines.get_data() {
            self.cache.put(&self.name, &self.key, &data);
        }
    }
}

impl Pipelines {
    /// No pipelines yet, and those that earlier processes made in `cache`.
    pub(crate) fn new(gpu: &Gpu, info: &wgpu::AdapterInfo, cache: Cache) -> Pipelines {
        Pipelines { made: Mutex::default(), kept: Kept::open(gpu, info, cache) }
    }

    /// The pipelines of `keys`, in their order; those that are missing are made, on as many threads as there are.
    ///
    /// # Errors
    /// The device refuses a shader.
    pub(crate) fn get(&self, gpu: &Gpu, keys: &[Key]) -> Result<Vec<Arc<Pipeline>>, BackendError> {
        let lock = || self.made.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let missing: Vec<&Key> = {
            let made = lock();
            let distinct: HashSet<&Key> = keys.iter().filter(|key| !made.contains_key(key)).collect();
            distinct.into_iter().collect()
        };
        if !missing.is_empty() {
            let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
            let parts = missing.chunks(missing.len().div_ceil(threads));
            let parts: Vec<Result<Vec<Pipeline>, BackendError>> = std::thread::scope(|scope| {
                let make = |part: &[&Key]| part.iter().map(|key| self.pipeline(gpu, key)).collect();
                let workers: Vec<_> = parts.map(|part| scope.spawn(move || make(part))).collect();
                let panicked = |_| Err(BackendError::Device("the shader compiler panicked".into()));
                workers.into_iter().map(|worker| worker.join().unwrap_or_else(panicked)).collect()
            });
            let pipelines: Vec<Pipeline> =
                parts.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
            let mut made = lock();
            for (key, pipeline) in missing.into_iter().zip(pipelines) {
                made.insert(key.clone(), Arc::new(pipeline));
            }
            drop(made);
            if let Some(kept) = &self.kept {
                kept.put();
            }
        }
        let made = lock();
        Ok(keys.iter().filter_map(|key| made.get(key).cloned()).collect())
    }

    fn pipeline(&self, gpu: &Gpu, key: &Key) -> Result<Pipeline, BackendError> {
        let name = Some(key.shader.name);
        let entry = |binding: usize, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let params = key.params.then(|| entry(0, wgpu::BufferBindingType::Uniform));
        let storage = |(i, &written): (usize, &bool)| {
            entry(i + 1, wgpu::BufferBindingType::Storage { read_only: !written })
        };
        let entries: Vec<_> = params.into_iter().chain(key.written.iter().enumerate().map(storage)).collect();
        gpu.guarded(&format!("shader `{}`", key.shader.name), 0, || {
            let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: name,
                source: wgpu::ShaderSource::Wgsl((&*key.shader.source).into()),
            });
            let layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: name,
                entries: &entries,
            });
            let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: name,
                bind_group_layouts: &[Some(&layout)],
                ..wgpu::PipelineLayoutDescriptor::default()
            });
            let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: name,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Every kernel writes its workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: false,
                    ..wgpu::PipelineCompilationOptions::default()
                },
                cache: self.kept.as_ref().map(|kept| &kept.pipelines),
            });
            Pipeline { pipeline, layout }
        })
    }
}
