// The memory ceiling of an adapter, for `unbraid doctor`: each lane copies 16 bytes.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4f>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u) {
  copied[id.x] = source[id.x];
}
