// BatchNormalization at inference: y = (x - mean) scale / sqrt(variance + epsilon) + bias, one set of numbers a channel.
// Layout [batch, channels, inner]. In training mode the statistics are the batch's (normalize.wgsl), and `running_*` gives
// the moving averages: old momentum + new (1 - momentum).

struct Params {
  count: u32,
  channels: u32,
  inner: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// x; for the gradient, dy.
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

@group(0) @binding(4) var<storage, read_write> input_gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> running: array<f32>;

fn linear(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
}

fn factor(channel: u32) -> f32 {
  return scale[channel] / sqrt(variance[channel] + params.epsilon);
}

@compute @workgroup_size(64)
fn forward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.count) {
    let channel = (index / params.inner) % params.channels;
    output[index] = (input[index] - mean[channel]) * factor(channel) + bias[channel];
  }
}

@compute @workgroup_size(64)
fn gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.count) {
    input_gradient[index] = input[index] * factor((index / params.inner) % params.channels);
  }
}

// `input` is the mean of each channel, `scale` the average so far, `epsilon` the momentum.
@compute @workgroup_size(64)
fn running_mean(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.count) {
    running[index] = scale[index] * params.epsilon + input[index] * (1.0 - params.epsilon);
  }
}

// `input` is 1 / standard deviation of each channel.
@compute @workgroup_size(64)
fn running_variance(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.count) {
    let deviation = 1.0 / input[index];
    running[index] = scale[index] * params.epsilon + deviation * deviation * (1.0 - params.epsilon);
  }
}
