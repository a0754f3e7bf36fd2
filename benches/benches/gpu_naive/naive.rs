//! A plain loop of kernels: one dispatch for each operator.

use crate::network::{From, Network, Op, Value};

const KERNELS: &str = include_str!("naive.wgsl");

/// The first adapter.
pub(crate) struct Naive {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    layout: wgpu::BindGroupLayout,
    pipeline_layout: wgpu::PipelineLayout,
    module: wgpu::ShaderModule,
}

impl Naive {
    /// None where there is no adapter.
    pub(crate) fn open() -> Option<Naive> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let native = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
        let mut adapters = pollster::block_on(instance.enumerate_adapters(native));
        adapters.sort_by_key(|adapter| adapter.get_info().device_type == wgpu::DeviceType::Cpu);
        let adapter = adapters.into_iter().next()?;
        let descriptor =
            wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..wgpu::DeviceDescriptor::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).ok()?;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(KERNELS.into()),
        });
        let entry = |binding: u32| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: binding < 4 },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let entries: Vec<_> = (0..5).map(entry).collect();
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            bind_group_layouts: &[Some(&layout)],
            ..wgpu::PipelineLayoutDescriptor::default()
        });
        Some(Naive { adapter, device, queue, layout, pipeline_layout, module })
    }

    /// The adapter's name.
    pub(crate) fn adapter(&self) -> String {
        self.adapter.get_info().name
    }

    fn buffer(&self, bytes: usize) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes.max(4) as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    fn filled(&self, bytes: &[u8]) -> wgpu::Buffer {
        let buffer = self.buffer(bytes.len());
        self.queue.write_buffer(&buffer, 0, bytes);
        buffer
    }

    /// Everything in place but the input.
    pub(crate) fn prepare<'a>(&'a self, network: &'a Network) -> Prepared<'a> {
        let unused = self.buffer(4);
        let mut buffers: Vec<wgpu::Buffer> = Vec::new();
        let mut steps = Vec::new();
        let mut feed = Vec::new();
        for value in &network.values {
            let bytes = 4 * value.shape.iter().product::<usize>();
            let buffer = match &value.from {
                From::Input => {
                    feed = network.feed(value);
                    self.buffer(bytes)
                }
                From::Weight(numbers) => self.filled(bytemuck::cast_slice(numbers)),
                From::Op(Op::Reshape, inputs) => buffers[inputs[0]].clone(),
                From::Op(op, inputs) => {
                    let buffer = self.buffer(bytes);
                    let shapes: Vec<&Value> = inputs.iter().map(|&input| &network.values[input]).collect();
                    let (entry, words, groups) = dispatch(op, &shapes, &value.shape);
                    let operand = |place: usize| inputs.get(place).map_or(&unused, |&input| &buffers[input]);
                    let words = self.filled(bytemuck::cast_slice(&words));
                    let bound = [&words, operand(0), operand(1), operand(2), &buffer];
                    steps.push(self.step(entry, &bound, groups));
                    buffer
                }
            };
            buffers.push(buffer);
        }
        let output = buffers.last().expect("a value").clone();
        let staged = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: output.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Prepared { naive: self, input: buffers[0].clone(), feed, steps, output, staged }
    }

    fn step(&self, entry: &str, bound: &[&wgpu::Buffer; 5], groups: [u32; 3]) -> Step {
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&self.pipeline_layout),
            module: &self.module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let entries: Vec<_> = bound
            .iter()
            .enumerate()
            .map(|(place, buffer)| wgpu::BindGroupEntry {
                binding: place as u32,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let binding = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.layout,
            entries: &entries,
        });
        Step { pipeline, binding, groups }
    }
}

/// The kernel of an operator, its words and workgroups.
fn dispatch(op: &Op, inputs: &[&Value], output: &[usize]) -> (&'static str, Vec<u32>, [u32; 3]) {
    let words = |numbers: &[usize]| numbers.iter().map(|&number| number as u32).collect::<Vec<u32>>();
    let elements: usize = output.iter().product();
    let over = |count: usize| [count.div_ceil(64) as u32, 1, 1];
    let last = output.last().copied().unwrap_or(1);
    let tiles =
        |n: usize, m: usize, batches: usize| [n.div_ceil(16) as u32, m.div_ceil(16) as u32, batches as u32];
    match op {
        Op::Conv { stride, pad } => {
            let (x, w) = (&inputs[0].shape, &inputs[1].shape);
            let numbers = [w[0], x[1], x[2], x[3], w[2], *stride, *pad, output[2], output[3]];
            ("conv", words(&numbers), tiles(output[2] * output[3], w[0], 1))
        }
        Op::Relu => ("relu", words(&[elements]), over(elements)),
        Op::Gelu => ("gelu", words(&[elements]), over(elements)),
        Op::Add => ("add", words(&[elements, inputs[1].shape.iter().product()]), over(elements)),
        Op::MatMul => {
            let (a, b) = (&inputs[0].shape, &inputs[1].shape);
            let (m, k) = (a[a.len() - 2], a[a.len() - 1]);
            let step = if b.len() > 2 { k * last } else { 0 };
            ("matmul", words(&[m, last, k, step]), tiles(last, m, elements / (m * last)))
        }
        Op::Softmax => ("softmax", words(&[elements / last, last]), over(elements / last)),
        Op::LayerNorm => ("layer_norm", words(&[elements / last, last]), over(elements / last)),
        Op::Transpose(axes) => {
            let x = &inputs[0].shape;
            let strides = [x[1] * x[2], x[2], 1];
            let [i, j, k] = [axes[0], axes[1], axes[2]].map(|axis| strides[axis]);
            ("transpose", words(&[elements, output[0], output[1], output[2], i, j, k]), over(elements))
        }
        Op::Reshape => unreachable!("nothing is dispatched for it"),
    }
}

struct Step {
    pipeline: wgpu::ComputePipeline,
    binding: wgpu::BindGroup,
    groups: [u32; 3],
}

/// A network that is ready to run.
pub(crate) struct Prepared<'a> {
    naive: &'a Naive,
    input: wgpu::Buffer,
    feed: Vec<f32>,
    steps: Vec<Step>,
    output: wgpu::Buffer,
    staged: wgpu::Buffer,
}

impl Prepared<'_> {
    /// The output.
    pub(crate) fn run(&self) -> Vec<f32> {
        let Naive { device, queue, .. } = self.naive;
        queue.write_buffer(&self.input, 0, bytemuck::cast_slice(&self.feed));
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for Step { pipeline, binding, groups: [x, y, z] } in &self.steps {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, binding, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
        }
        drop(pass);
        encoder.copy_buffer_to_buffer(&self.output, 0, &self.staged, 0, self.output.size());
        queue.submit([encoder.finish()]);
        self.staged.map_async(wgpu::MapMode::Read, .., |result| result.expect("the output is read"));
        device.poll(wgpu::PollType::wait_indefinitely()).expect("the adapter answers");
        let view = self.staged.get_mapped_range(..).expect("it is mapped");
        let numbers = bytemuck::cast_slice(&view).to_vec();
        drop(view);
        self.staged.unmap();
        numbers
    }
}
