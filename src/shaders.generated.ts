// Generated from shaders/*.wgsl by scripts/embed-shaders.mjs: edit those, then run `npm run fix`.
export const shaders = {
  "fill": "// Fills a buffer with one value: sentinels in tests, zeros where a gradient does not flow.\n\nstruct Params {\n  count: u32,\n  value: f32,\n}\n\n@group(0) @binding(0) var<uniform> params: Params;\n@group(0) @binding(1) var<storage, read_write> output: array<f32>;\n\n@compute @workgroup_size(64)\nfn main(\n  @builtin(workgroup_id) group: vec3u,\n  @builtin(num_workgroups) groups: vec3u,\n  @builtin(local_invocation_index) lane: u32,\n) {\n  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;\n  if (index < params.count) {\n    output[index] = params.value;\n  }\n}\n",
} as const;

export type ShaderName = keyof typeof shaders;
