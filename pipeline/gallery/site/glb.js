// Reads the GLB files that dreambatch writes (glTF 2.0, sections 3 and 4.4): triangles with
// positions, colours or texture coordinates with an embedded picture, normals if there are any.
// No transforms, animations or compression: those are nowhere in our files.
"use strict";

dreambatch.glb = (() => {
  const MAGIC = 0x46546c67;
  const JSON_CHUNK = 0x4e4f534a;
  const BINARY_CHUNK = 0x004e4942;
  const TYPES = new Map([
    [5121, Uint8Array], [5123, Uint16Array], [5125, Uint32Array], [5126, Float32Array],
  ]);
  const WIDTHS = new Map([["SCALAR", 1], ["VEC2", 2], ["VEC3", 3], ["VEC4", 4]]);

  function chunks(buffer) {
    const view = new DataView(buffer);
    if (buffer.byteLength < 20 || view.getUint32(0, true) !== MAGIC) throw new Error("no GLB file");
    const found = new Map();
    for (let at = 12; at + 8 <= buffer.byteLength;) {
      const length = view.getUint32(at, true);
      found.set(view.getUint32(at + 4, true), new Uint8Array(buffer, at + 8, length));
      at += 8 + length;
    }
    return found;
  }

  function bytesOf(document, binary, index) {
    const { byteOffset = 0, byteLength, byteStride } = document.bufferViews[index];
    if (byteStride !== undefined) throw new Error("interleaved attributes are not expected");
    return binary.subarray(byteOffset, byteOffset + byteLength);
  }

  // The numbers of an accessor as a typed array of their own.
  function numbers(document, binary, index) {
    const accessor = document.accessors[index];
    const Type = TYPES.get(accessor.componentType);
    const width = WIDTHS.get(accessor.type);
    const bytes = bytesOf(document, binary, accessor.bufferView);
    const start = accessor.byteOffset ?? 0;
    const length = accessor.count * width * Type.BYTES_PER_ELEMENT;
    const values = new Type(bytes.slice(start, start + length).buffer);
    const { componentType, normalized = false } = accessor;
    return { values, width, componentType, isNormalised: normalized };
  }

  function image(document, binary, material) {
    const texture = material?.pbrMetallicRoughness?.baseColorTexture;
    if (texture === undefined) return null;
    const { source, extensions } = document.textures[texture.index];
    const number = source ?? extensions?.EXT_texture_webp?.source;
    const { bufferView, mimeType } = document.images[number];
    return new Blob([bytesOf(document, binary, bufferView)], { type: mimeType });
  }

  function part(document, binary, primitive) {
    const material = document.materials?.[primitive.material];
    const read = (name) => {
      const index = primitive.attributes[name];
      return index === undefined ? null : numbers(document, binary, index);
    };
    return {
      positions: read("POSITION"),
      colours: read("COLOR_0"),
      places: read("TEXCOORD_0"),
      normals: read("NORMAL"),
      indices: numbers(document, binary, primitive.indices),
      picture: image(document, binary, material),
      factor: material?.pbrMetallicRoughness?.baseColorFactor ?? [1, 1, 1, 1],
    };
  }

  // All parts of the file; an error says what is not as expected.
  function parse(buffer) {
    const found = chunks(buffer);
    const document = JSON.parse(new TextDecoder().decode(found.get(JSON_CHUNK)));
    const binary = found.get(BINARY_CHUNK);
    return document.meshes
      .flatMap((mesh) => mesh.primitives)
      .map((primitive) => part(document, binary, primitive));
  }

  // Bytes of a text in base64.
  function decode(text) {
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
    return bytes;
  }

  return { parse, decode };
})();
