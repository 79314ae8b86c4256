export declare function minifyShaders(shaders: Readonly<Record<string, string>>): Record<string, string>;
