//! Compiled shaders, made once each and in parallel.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use inferrum_backend::BackendError;

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
#[derive(Default)]
pub(crate) struct Pipelines {
    made: Mutex<HashMap<Key, Arc<Pipeline>>>,
}

impl Pipelines {
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
                let make = |part: &[&Key]| part.iter().map(|key| pipeline(gpu, key)).collect();
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
        }
        let made = lock();
        Ok(keys.iter().filter_map(|key| made.get(key).cloned()).collect())
    }
}

fn pipeline(gpu: &Gpu, key: &Key) -> Result<Pipeline, BackendError> {
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
            source: wgpu::ShaderSource::Wgsl(key.shader.source.as_str().into()),
        });
        let layout = gpu
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: name, entries: &entries });
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
            cache: None,
        });
        Pipeline { pipeline, layout }
    })
}
