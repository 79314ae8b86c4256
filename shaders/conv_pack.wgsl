// Packs a tensor for conv_packed.wgsl: [image][channel][y][x] to [image][group][four][y][x], four channels to a vec4, zero
// where channels or the padding have nothing. A lane makes one vec4.

struct Params {
  // Elements (vec4) to make; channels and fours of one group; height and width of the input.
  count: u32, channels: u32, fours: u32, height: u32,
  width: u32, padTop: i32, padLeft: i32, packedHeight: u32,
  packedWidth: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> packed: array<vec4f>;

@compute @workgroup_size(32)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((id.z * counts.y + id.y) * counts.x + id.x) * 32u + lane;
  if (index >= params.count) {
    return;
  }
  // Wraps below zero where the padding lies before the image, which is then not inside either. Negative padding, which
  // cuts rows or columns off, wraps as it is subtracted.
  let x = index % params.packedWidth - u32(params.padLeft);
  let y = index / params.packedWidth % params.packedHeight - u32(params.padTop);
  let row = index / params.packedWidth / params.packedHeight;
  let channel = row % params.fours * 4u;
  var value = vec4f();
  if (x < params.width && y < params.height) {
    let plane = params.height * params.width;
    let at = (row / params.fours * params.channels + channel) * plane + y * params.width + x;
    let left = params.channels - channel;
    value.x = input[at];
    if (left > 1u) { value.y = input[at + plane]; }
    if (left > 2u) { value.z = input[at + 2u * plane]; }
    if (left > 3u) { value.w = input[at + 3u * plane]; }
  }
  packed[index] = value;
}
