// Draws a mesh with WebGL 2: as it is (unlit, as our materials say), lit, or as bare clay.
//
// Colours are linear light from the file (COLOR_0) or become so (the texture is read as sRGB), and
// are encoded at the very end. The canvas is transparent; the page decides what lies behind.
"use strict";

dreambatch.Viewer = class Viewer {
  static MODES = ["colour", "lit", "clay"];
  static FOV = Math.PI / 6;

  static VERTEX = `#version 300 es
    in vec3 position; in vec4 colour; in vec2 place; in vec3 normal;
    uniform mat4 view, projection;
    out vec3 tint; out vec2 uv; out vec3 facing;
    void main() {
      tint = colour.rgb;
      uv = place;
      facing = mat3(view) * normal;
      gl_Position = projection * view * vec4(position, 1.0);
    }`;

  // Light falls from the upper left behind the eye and a little from everywhere.
  static FRAGMENT = `#version 300 es
    precision highp float;
    in vec3 tint; in vec2 uv; in vec3 facing;
    uniform sampler2D picture; uniform vec3 factor; uniform int mode; uniform bool hasPicture;
    out vec4 pixel;
    void main() {
      vec3 albedo = factor * tint;
      if (hasPicture) albedo *= texture(picture, uv).rgb;
      if (mode == 2) albedo = vec3(0.6, 0.57, 0.53);
      if (mode != 0) {
        vec3 n = normalize(gl_FrontFacing ? facing : -facing);
        float key = max(dot(n, normalize(vec3(-0.5, 0.7, 0.8))), 0.0);
        float fill = 0.5 + 0.5 * n.y;
        albedo *= 0.18 + 0.24 * fill + 0.78 * key;
      }
      vec3 low = albedo * 12.92;
      vec3 high = 1.055 * pow(max(albedo, vec3(0.0)), vec3(1.0 / 2.4)) - 0.055;
      pixel = vec4(mix(high, low, vec3(lessThanEqual(albedo, vec3(0.0031308)))), 1.0);
    }`;

  // Throws where the browser has no WebGL 2.
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: true, alpha: true });
    if (!this.gl) throw new Error("this browser has no WebGL 2");
    this.program = this.#program();
    this.parts = [];
    this.sphere = { centre: [0, 0, 0], radius: 1 };
    this.mode = 0;
    this.isTurning = false;
    this.waiting = 0;
    this.reset();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // Takes the place of what was shown. `parts` are those of `glb.parse`.
  async show(parts) {
    this.clear();
    this.sphere = dreambatch.geometry.sphere(parts);
    const loading = parts.map((part) => this.#upload(part));
    this.parts = await Promise.all(loading);
    this.reset();
  }

  clear() {
    for (const part of this.parts) {
      part.buffers.forEach((buffer) => this.gl.deleteBuffer(buffer));
      this.gl.deleteVertexArray(part.array);
      this.gl.deleteTexture(part.texture);
    }
    this.parts = [];
    this.draw();
  }

  // The view of the thumbnails: three quarters from the front, from a little above.
  reset() {
    this.azimuth = Math.PI / 6;
    this.elevation = Math.PI / 9;
    this.zoom = 1;
    this.draw();
  }

  turn(azimuth, elevation) {
    const most = Math.PI / 2 - 0.01;
    this.azimuth += azimuth;
    this.elevation = Math.min(most, Math.max(-most, this.elevation + elevation));
    this.draw();
  }

  approach(factor) {
    this.zoom = Math.min(8, Math.max(0.4, this.zoom * factor));
    this.draw();
  }

  // Draws soon, once for all changes until then; again and again while it turns.
  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame((now) => {
      this.waiting = 0;
      if (this.isTurning) {
        const elapsed = Math.min(100, now - (this.last ?? now));
        this.azimuth += elapsed * 0.0006;
      }
      this.last = this.isTurning ? now : undefined;
      this.#paint();
      if (this.isTurning && this.parts.length) this.draw();
    });
  }

  #paint() {
    const { gl, canvas, program, sphere } = this;
    const scale = Math.min(2, devicePixelRatio || 1);
    const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale].map(Math.round);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const aspect = width / height;
    // The whole sphere, and some air, fits into the narrower side of the picture.
    const narrow = Math.atan(Math.tan(Viewer.FOV / 2) * Math.min(1, aspect));
    const distance = (1.2 * sphere.radius) / (Math.sin(narrow) * this.zoom);
    const near = Math.max(distance - 1.1 * sphere.radius, 0.01 * sphere.radius);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.useProgram(program.handle);
    gl.uniformMatrix4fv(program.uniform("view"), false, dreambatch.geometry.orbit(
      sphere.centre, this.azimuth, this.elevation, distance,
    ));
    gl.uniformMatrix4fv(program.uniform("projection"), false, dreambatch.geometry.perspective(
      Viewer.FOV, aspect, near, distance + 1.1 * sphere.radius,
    ));
    gl.uniform1i(program.uniform("mode"), this.mode);
    for (const part of this.parts) {
      gl.uniform1i(program.uniform("hasPicture"), part.texture ? 1 : 0);
      gl.uniform3fv(program.uniform("factor"), part.factor.slice(0, 3));
      gl.bindTexture(gl.TEXTURE_2D, part.texture);
      gl.bindVertexArray(part.array);
      gl.drawElements(gl.TRIANGLES, part.count, part.indexType, 0);
    }
    gl.bindVertexArray(null);
  }

  async #upload(part) {
    const { gl, program } = this;
    const texture = part.picture ? await this.#texture(part.picture) : null;
    const normals = part.normals ?? {
      values: dreambatch.geometry.normals(part.positions.values, part.indices.values),
      width: 3, componentType: gl.FLOAT, isNormalised: false,
    };
    const array = gl.createVertexArray();
    const buffers = [];
    gl.bindVertexArray(array);
    const fill = (target, values) => {
      const buffer = gl.createBuffer();
      buffers.push(buffer);
      gl.bindBuffer(target, buffer);
      gl.bufferData(target, values, gl.STATIC_DRAW);
    };
    const attributes = {
      position: part.positions, colour: part.colours, place: part.places, normal: normals,
    };
    for (const [name, numbers] of Object.entries(attributes)) {
      const place = program.attribute(name);
      // Without colours everything is white.
      if (numbers === null) {
        gl.vertexAttrib4f(place, 1, 1, 1, 1);
        continue;
      }
      fill(gl.ARRAY_BUFFER, numbers.values);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(
        place, numbers.width, numbers.componentType, numbers.isNormalised, 0, 0,
      );
    }
    fill(gl.ELEMENT_ARRAY_BUFFER, part.indices.values);
    gl.bindVertexArray(null);
    return {
      array, buffers, texture, factor: part.factor,
      count: part.indices.values.length, indexType: part.indices.componentType,
    };
  }

  async #texture(picture) {
    const { gl } = this;
    const bitmap = await createImageBitmap(picture, {
      premultiplyAlpha: "none", colorSpaceConversion: "none",
    });
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.SRGB8_ALPHA8, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    bitmap.close();
    return texture;
  }

  #program() {
    const { gl } = this;
    const handle = gl.createProgram();
    for (const [kind, source] of [
      [gl.VERTEX_SHADER, Viewer.VERTEX], [gl.FRAGMENT_SHADER, Viewer.FRAGMENT],
    ]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(handle, shader);
    }
    gl.linkProgram(handle);
    if (!gl.getProgramParameter(handle, gl.LINK_STATUS)) {
      throw new Error(`the shaders do not link: ${gl.getProgramInfoLog(handle)}`);
    }
    return {
      handle,
      uniform: (name) => gl.getUniformLocation(handle, name),
      attribute: (name) => gl.getAttribLocation(handle, name),
    };
  }
};
