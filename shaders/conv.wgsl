// Convolution as an implicit matrix product, float32, NCHW. One kernel serves four operators: with TRANSPOSED = false
// it gathers as Conv does, y[o, p] = sum over taps (ky, kx) and channels c of w[o, c, k] x[c, s p + d k - pad]; with
// TRANSPOSED = true as Conv's input gradient does, y[o, p] = sum of w[o, c, k] x[c, (p + pad - d k) / s] where s divides.
//
// A lane computes 4 pixels x 16 output channels, the pixels WORKGROUP apart so that neighbouring lanes read neighbouring
// addresses. Weights come packed as [group][tap][channel][output channel, padded to 16], so that one channel's 16
// weights are 4 vec4. Every lane loads them itself: the variant for adapters whose subgroups are unknown or narrower than 8.
// Sum order for one output: taps outermost, channels within; independent of batch size and of the lane.

override TRANSPOSED: bool = false;
override WORKGROUP: u32 = 8u;

struct Params {
  // Images, input channels and output channels of one group, groups.
  batch: u32, channels: u32, outputs: u32, groups: u32,
  // Input and output size.
  height: u32, width: u32, outHeight: u32, outWidth: u32,
  kernelHeight: u32, kernelWidth: u32, strideY: u32, strideX: u32,
  dilationY: u32, dilationX: u32, padTop: i32, padLeft: i32,
  // Output channels of one group, padded to a multiple of 16; whether a bias is added.
  packedOutputs: u32, hasBias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

struct Pixel {
  inside: bool,
  y: i32,
  x: i32,
  // Of the image and group in the input, and of the output element of the group's first channel.
  start: u32,
  end: u32,
}

struct Tap {
  valid: bool,
  offset: u32,
}

fn pixel(index: u32, group: u32) -> Pixel {
  let plane = params.outHeight * params.outWidth;
  let inside = index < params.batch * plane;
  let p = select(0u, index, inside);
  let image = p / plane;
  let rest = p % plane;
  let start = (image * params.groups + group) * params.channels * params.height * params.width;
  let end = (image * params.groups + group) * params.outputs * plane + rest;
  return Pixel(inside, i32(rest / params.outWidth), i32(rest % params.outWidth), start, end);
}

// Where tap (ky, kx) of a pixel lies in the input's first channel.
// Conditions are joined by & because && branches: so many branches take SwiftShader minutes and gigabytes to compile.
fn tap(p: Pixel, ky: u32, kx: u32) -> Tap {
  var y: i32;
  var x: i32;
  var whole = true;
  if (TRANSPOSED) {
    let v = p.y + params.padTop - i32(ky * params.dilationY);
    let h = p.x + params.padLeft - i32(kx * params.dilationX);
    y = v / i32(params.strideY);
    x = h / i32(params.strideX);
    whole = (v >= 0) & (h >= 0) & (y * i32(params.strideY) == v) & (x * i32(params.strideX) == h);
  } else {
    y = p.y * i32(params.strideY) + i32(ky * params.dilationY) - params.padTop;
    x = p.x * i32(params.strideX) + i32(kx * params.dilationX) - params.padLeft;
  }
  let valid = p.inside & whole & (y >= 0) & (x >= 0) & (y < i32(params.height)) & (x < i32(params.width));
  return Tap(valid, select(0u, p.start + u32(y) * params.width + u32(x), valid));
}

fn load(t: Tap, channelOffset: u32) -> f32 {
  return select(0.0, input[t.offset + channelOffset], t.valid);
}

fn store(p: Pixel, channel: u32, a: vec4f) {
  if (!p.inside) {
    return;
  }
  let plane = params.outHeight * params.outWidth;
  let first = params.outputs - min(channel, params.outputs);
  if (first > 0u) { output[p.end + channel * plane] = a.x; }
  if (first > 1u) { output[p.end + (channel + 1u) * plane] = a.y; }
  if (first > 2u) { output[p.end + (channel + 2u) * plane] = a.z; }
  if (first > 3u) { output[p.end + (channel + 3u) * plane] = a.w; }
}

fn biasOf(group: u32, channel: u32) -> vec4f {
  if (params.hasBias == 0u) {
    return vec4f();
  }
  let last = params.outputs - 1u;
  let first = group * params.outputs;
  return vec4f(
    bias[first + min(channel, last)],
    bias[first + min(channel + 1u, last)],
    bias[first + min(channel + 2u, last)],
    bias[first + min(channel + 3u, last)],
  );
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = id.y / (params.packedOutputs / 16u);
  let channel = (id.y % (params.packedOutputs / 16u)) * 16u;
  let first = (id.z * counts.x + id.x) * WORKGROUP * 4u + lane;
  let p0 = pixel(first + 0u * WORKGROUP, group);
  let p1 = pixel(first + 1u * WORKGROUP, group);
  let p2 = pixel(first + 2u * WORKGROUP, group);
  let p3 = pixel(first + 3u * WORKGROUP, group);
  let b0 = biasOf(group, channel);
  let b1 = biasOf(group, channel + 4u);
  let b2 = biasOf(group, channel + 8u);
  let b3 = biasOf(group, channel + 12u);
  var a00 = b0; var a01 = b1; var a02 = b2; var a03 = b3;
  var a10 = b0; var a11 = b1; var a12 = b2; var a13 = b3;
  var a20 = b0; var a21 = b1; var a22 = b2; var a23 = b3;
  var a30 = b0; var a31 = b1; var a32 = b2; var a33 = b3;

  let step = params.packedOutputs / 4u;
  let plane = params.height * params.width;
  let fours = params.channels / 4u;
  let taps = params.kernelHeight * params.kernelWidth;
  var w = (group * taps * params.channels * params.packedOutputs + channel) / 4u;
  for (var ky = 0u; ky < params.kernelHeight; ky++) {
    for (var kx = 0u; kx < params.kernelWidth; kx++) {
      let t0 = tap(p0, ky, kx);
      let t1 = tap(p1, ky, kx);
      let t2 = tap(p2, ky, kx);
      let t3 = tap(p3, ky, kx);
      var offset = 0u;
      for (var four = 0u; four < fours; four++) {
        {
          let x0 = load(t0, offset);
          let x1 = load(t1, offset);
          let x2 = load(t2, offset);
          let x3 = load(t3, offset);
          let w0 = weights[w + 0u * step + 0u];
          let w1 = weights[w + 0u * step + 1u];
          let w2 = weights[w + 0u * step + 2u];
          let w3 = weights[w + 0u * step + 3u];
          a00 = fma(vec4f(x0), w0, a00); a01 = fma(vec4f(x0), w1, a01); a02 = fma(vec4f(x0), w2, a02); a03 = fma(vec4f(x0), w3, a03);
          a10 = fma(vec4f(x1), w0, a10); a11 = fma(vec4f(x1), w1, a11); a12 = fma(vec4f(x1), w2, a12); a13 = fma(vec4f(x1), w3, a13);
          a20 = fma(vec4f(x2), w0, a20); a21 = fma(vec4f(x2), w1, a21); a22 = fma(vec4f(x2), w2, a22); a23 = fma(vec4f(x2), w3, a23);
          a30 = fma(vec4f(x3), w0, a30); a31 = fma(vec4f(x3), w1, a31); a32 = fma(vec4f(x3), w2, a32); a33 = fma(vec4f(x3), w3, a33);
        }
        {
          let x0 = load(t0, offset + 1u * plane);
          let x1 = load(t1, offset + 1u * plane);
          let x2 = load(t2, offset + 1u * plane);
          let x3 = load(t3, offset + 1u * plane);
          let w0 = weights[w + 1u * step + 0u];
          let w1 = weights[w + 1u * step + 1u];
          let w2 = weights[w + 1u * step + 2u];
          let w3 = weights[w + 1u * step + 3u];
          a00 = fma(vec4f(x0), w0, a00); a01 = fma(vec4f(x0), w1, a01); a02 = fma(vec4f(x0), w2, a02); a03 = fma(vec4f(x0), w3, a03);
          a10 = fma(vec4f(x1), w0, a10); a11 = fma(vec4f(x1), w1, a11); a12 = fma(vec4f(x1), w2, a12); a13 = fma(vec4f(x1), w3, a13);
          a20 = fma(vec4f(x2), w0, a20); a21 = fma(vec4f(x2), w1, a21); a22 = fma(vec4f(x2), w2, a22); a23 = fma(vec4f(x2), w3, a23);
          a30 = fma(vec4f(x3), w0, a30); a31 = fma(vec4f(x3), w1, a31); a32 = fma(vec4f(x3), w2, a32); a33 = fma(vec4f(x3), w3, a33);
        }
        {
          let x0 = load(t0, offset + 2u * plane);
          let x1 = load(t1, offset + 2u * plane);
          let x2 = load(t2, offset + 2u * plane);
          let x3 = load(t3, offset + 2u * plane);
          let w0 = weights[w + 2u * step + 0u];
          let w1 = weights[w + 2u * step + 1u];
          let w2 = weights[w + 2u * step + 2u];
          let w3 = weights[w + 2u * step + 3u];
          a00 = fma(vec4f(x0), w0, a00); a01 = fma(vec4f(x0), w1, a01); a02 = fma(vec4f(x0), w2, a02); a03 = fma(vec4f(x0), w3, a03);
          a10 = fma(vec4f(x1), w0, a10); a11 = fma(vec4f(x1), w1, a11); a12 = fma(vec4f(x1), w2, a12); a13 = fma(vec4f(x1), w3, a13);
          a20 = fma(vec4f(x2), w0, a20); a21 = fma(vec4f(x2), w1, a21); a22 = fma(vec4f(x2), w2, a22); a23 = fma(vec4f(x2), w3, a23);
          a30 = fma(vec4f(x3), w0, a30); a31 = fma(vec4f(x3), w1, a31); a32 = fma(vec4f(x3), w2, a32); a33 = fma(vec4f(x3), w3, a33);
        }
        {
          let x0 = load(t0, offset + 3u * plane);
          let x1 = load(t1, offset + 3u * plane);
          let x2 = load(t2, offset + 3u * plane);
          let x3 = load(t3, offset + 3u * plane);
          let w0 = weights[w + 3u * step + 0u];
          let w1 = weights[w + 3u * step + 1u];
          let w2 = weights[w + 3u * step + 2u];
          let w3 = weights[w + 3u * step + 3u];
          a00 = fma(vec4f(x0), w0, a00); a01 = fma(vec4f(x0), w1, a01); a02 = fma(vec4f(x0), w2, a02); a03 = fma(vec4f(x0), w3, a03);
          a10 = fma(vec4f(x1), w0, a10); a11 = fma(vec4f(x1), w1, a11); a12 = fma(vec4f(x1), w2, a12); a13 = fma(vec4f(x1), w3, a13);
          a20 = fma(vec4f(x2), w0, a20); a21 = fma(vec4f(x2), w1, a21); a22 = fma(vec4f(x2), w2, a22); a23 = fma(vec4f(x2), w3, a23);
          a30 = fma(vec4f(x3), w0, a30); a31 = fma(vec4f(x3), w1, a31); a32 = fma(vec4f(x3), w2, a32); a33 = fma(vec4f(x3), w3, a33);
        }
        offset += 4u * plane;
        w += 4u * step;
      }
      for (var c = 4u * fours; c < params.channels; c++) {
        let x0 = load(t0, offset);
        let x1 = load(t1, offset);
        let x2 = load(t2, offset);
        let x3 = load(t3, offset);
        let w0 = weights[w + 0u];
        let w1 = weights[w + 1u];
        let w2 = weights[w + 2u];
        let w3 = weights[w + 3u];
        a00 = fma(vec4f(x0), w0, a00); a01 = fma(vec4f(x0), w1, a01); a02 = fma(vec4f(x0), w2, a02); a03 = fma(vec4f(x0), w3, a03);
        a10 = fma(vec4f(x1), w0, a10); a11 = fma(vec4f(x1), w1, a11); a12 = fma(vec4f(x1), w2, a12); a13 = fma(vec4f(x1), w3, a13);
        a20 = fma(vec4f(x2), w0, a20); a21 = fma(vec4f(x2), w1, a21); a22 = fma(vec4f(x2), w2, a22); a23 = fma(vec4f(x2), w3, a23);
        a30 = fma(vec4f(x3), w0, a30); a31 = fma(vec4f(x3), w1, a31); a32 = fma(vec4f(x3), w2, a32); a33 = fma(vec4f(x3), w3, a33);
        offset += plane;
        w += step;
      }
    }
  }
  store(p0, channel + 0u, a00); store(p0, channel + 4u, a01); store(p0, channel + 8u, a02); store(p0, channel + 12u, a03);
  store(p1, channel + 0u, a10); store(p1, channel + 4u, a11); store(p1, channel + 8u, a12); store(p1, channel + 12u, a13);
  store(p2, channel + 0u, a20); store(p2, channel + 4u, a21); store(p2, channel + 8u, a22); store(p2, channel + 12u, a23);
  store(p3, channel + 0u, a30); store(p3, channel + 4u, a31); store(p3, channel + 8u, a32); store(p3, channel + 12u, a33);
}
