// Local response normalisation across channels. Layout [batch, channels, inner].
//
//   y_i = x_i s_i^-beta,  s_i = bias + alpha/size sum over channels j in i - before .. i + after of x_j^2
//   dx_i = dy_i s_i^-beta - 2 alpha beta/size x_i sum over j with i in j's window of dy_j x_j s_j^(-beta-1)

struct Params {
  count: u32,
  channels: u32,
  inner: u32,
  before: u32,
  after: u32,
  // alpha / size
  weight: f32,
  beta: f32,
  bias: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

// gradient
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read> output_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> input_gradient: array<f32>;

fn linear(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
}

fn channel_of(index: u32) -> u32 {
  return (index / params.inner) % params.channels;
}

// s of element `index`.
fn local_sum(index: u32) -> f32 {
  let channel = channel_of(index);
  let first = max(channel, params.before) - params.before;
  let last = min(channel + params.after, params.channels - 1u);
  var at = index - (channel - first) * params.inner;
  var sum = 0.0;
  for (var j = first; j <= last; j++) {
    sum += input[at] * input[at];
    at += params.inner;
  }
  return params.bias + params.weight * sum;
}

@compute @workgroup_size(64)
fn forward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.count) {
    output[index] = input[index] * pow(local_sum(index), -params.beta);
  }
}

@compute @workgroup_size(64)
fn local_sums(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.count) {
    output[index] = local_sum(index);
  }
}

@compute @workgroup_size(64)
fn gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index >= params.count) { return; }
  let channel = channel_of(index);
  // The windows that contain this channel: the mirror image of its own.
  let first = max(channel, params.after) - params.after;
  let last = min(channel + params.before, params.channels - 1u);
  var at = index - (channel - first) * params.inner;
  var sum = 0.0;
  for (var j = first; j <= last; j++) {
    sum += output_gradient[at] * input[at] * pow(sums[at], -params.beta - 1.0);
    at += params.inner;
  }
  let own = output_gradient[index] * pow(sums[index], -params.beta);
  input_gradient[index] = own - 2.0 * params.weight * params.beta * input[index] * sum;
}
