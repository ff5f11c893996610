// Size, normals and matrices. Matrices are 16 numbers by columns, as WebGL wants them.
"use strict";

dreambatch.geometry = (() => {
  // Centre of the box around points, and the greatest distance from it.
  function sphere(parts) {
    const low = [Infinity, Infinity, Infinity];
    const high = [-Infinity, -Infinity, -Infinity];
    for (const { positions: { values } } of parts) {
      for (let at = 0; at < values.length; at += 1) {
        low[at % 3] = Math.min(low[at % 3], values[at]);
        high[at % 3] = Math.max(high[at % 3], values[at]);
      }
    }
    const centre = low.map((value, axis) => (value + high[axis]) / 2);
    let radius = 0;
    for (const { positions: { values } } of parts) {
      for (let at = 0; at < values.length; at += 3) {
        radius = Math.max(radius, Math.hypot(
          values[at] - centre[0], values[at + 1] - centre[1], values[at + 2] - centre[2],
        ));
      }
    }
    return { centre, radius: radius || 1 };
  }

  // Unit normals of vertices: the sum of the normals of their triangles, by area. Vertices at one
  // place count as one, because a seam between charts of a texture is no edge.
  function normals(positions, indices) {
    const first = new Map();
    const same = new Uint32Array(positions.length / 3);
    for (let vertex = 0; vertex < same.length; vertex += 1) {
      const at = 3 * vertex;
      const key = `${positions[at]},${positions[at + 1]},${positions[at + 2]}`;
      if (!first.has(key)) first.set(key, vertex);
      same[vertex] = first.get(key);
    }
    const sums = new Float32Array(positions.length);
    for (let at = 0; at < indices.length; at += 3) {
      const [a, b, c] = [3 * indices[at], 3 * indices[at + 1], 3 * indices[at + 2]];
      const u = [0, 1, 2].map((axis) => positions[b + axis] - positions[a + axis]);
      const v = [0, 1, 2].map((axis) => positions[c + axis] - positions[a + axis]);
      const cross = [
        u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0],
      ];
      for (const corner of [a, b, c]) {
        const place = 3 * same[corner / 3];
        for (let axis = 0; axis < 3; axis += 1) sums[place + axis] += cross[axis];
      }
    }
    const found = new Float32Array(positions.length);
    for (let vertex = 0; vertex < same.length; vertex += 1) {
      const place = 3 * same[vertex];
      const length = Math.hypot(sums[place], sums[place + 1], sums[place + 2]) || 1;
      for (let axis = 0; axis < 3; axis += 1) found[3 * vertex + axis] = sums[place + axis] / length;
    }
    return found;
  }

  function perspective(fovY, aspect, near, far) {
    const scale = 1 / Math.tan(fovY / 2);
    const depth = 1 / (near - far);
    return [
      scale / aspect, 0, 0, 0, 0, scale, 0, 0,
      0, 0, (far + near) * depth, -1, 0, 0, 2 * far * near * depth, 0,
    ];
  }

  // World to camera for an eye on a sphere around `centre`. Azimuth 0 is the front, +Z in glTF,
  // counter-clockwise seen from above; angles in radians.
  function orbit(centre, azimuth, elevation, distance) {
    const [sinA, cosA] = [Math.sin(azimuth), Math.cos(azimuth)];
    const [sinE, cosE] = [Math.sin(elevation), Math.cos(elevation)];
    const back = [cosE * sinA, sinE, cosE * cosA];
    const right = [cosA, 0, -sinA];
    const up = [-sinE * sinA, cosE, -sinE * cosA];
    const eye = back.map((value, axis) => centre[axis] + distance * value);
    const dot = (a) => -(a[0] * eye[0] + a[1] * eye[1] + a[2] * eye[2]);
    return [
      right[0], up[0], back[0], 0, right[1], up[1], back[1], 0,
      right[2], up[2], back[2], 0, dot(right), dot(up), dot(back), 1,
    ];
  }

  return { sphere, normals, perspective, orbit };
})();
