// What the first bytes of an image file say: its format and its size in pixels.

/**
 * @typedef {object} Header
 * @property {string} format JPEG, PNG, GIF, BMP or WebP
 * @property {number} width that the file claims, in pixels
 * @property {number} height that the file claims, in pixels
 * @property {{start: number, end: number}[]} exif where its EXIF data lie
 * @property {number} [orientation] that a camera noted in a JPEG, 1 to 8
 * @property {{left: number, top: number, width: number, height: number}} [frame] where
 *   the first frame of a GIF lies
 */

/**
 * @param {Uint8Array} bytes a whole file
 * @returns {Header}
 * @throws {Error} none of the five formats, broken before its size, or a JPEG of more
 *   scans than an encoder writes
 */
export function readHeader(bytes) {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  let read, format;
  if (text(0, 3) === "\xff\xd8\xff") [format, read] = ["JPEG", readJpeg];
  else if (text(0, 8) === "\x89PNG\r\n\x1a\n") [format, read] = ["PNG", readPng];
  else if (/^GIF8[79]a/.test(text(0, 6))) [format, read] = ["GIF", readGif];
  else if (text(0, 2) === "BM") [format, read] = ["BMP", readBmp];
  else if (/^RIFF....WEBP/s.test(text(0, 12))) [format, read] = ["WebP", readWebp];
  else throw new Error("no JPEG, PNG, GIF, BMP or WebP");
  try {
    return { format, exif: [], ...read(data, text, bytes) };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new Error(`a ${format} that is broken at its start`);
  }
}

/**
 * The file without its EXIF data, except that a JPEG keeps its orientation.
 *
 * Browsers differ in the formats that they turn, and in what else of EXIF they heed.
 *
 * @param {Uint8Array} bytes
 * @param {Header} header
 * @param {boolean} exif whether a JPEG keeps it
 * @returns {Uint8Array[]} what remains, in order
 */
export function orientedFile(bytes, header, exif = true) {
  const parts = [];
  let from = 0;
  if (exif && header.orientation > 1) {
    from = 2; // behind the marker that every JPEG begins with
    parts.push(bytes.subarray(0, from), exifOf(header.orientation));
  }
  for (const { start, end } of header.exif) {
    parts.push(bytes.subarray(from, start));
    // A WebP says its own length: what is cut out becomes an unknown chunk instead.
    if (header.format === "WebP") {
      const unknown = bytes.slice(start, end);
      unknown.set([0x6e, 0x6f, 0x6e, 0x65]); // "none"
      parts.push(unknown);
    }
    from = end;
  }
  parts.push(bytes.subarray(from));
  return parts;
}

/** A segment of EXIF that notes an orientation and nothing else. */
function exifOf(orientation) {
  const entry = [1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0];
  const tiff = [0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1, ...entry, 0, 0, 0, 0];
  const name = [0x45, 0x78, 0x69, 0x66, 0, 0]; // "Exif"
  const length = 2 + name.length + tiff.length;
  return Uint8Array.from([0xff, 0xe1, 0, length, ...name, ...tiff]);
}

/** The orientation in a JPEG's segment of EXIF; 1, upright, where it notes none. */
function readOrientation(data, text, start, end) {
  if (text(start, 6) !== "Exif\0\0") return undefined;
  const tiff = start + 6, little = text(tiff, 1) === "I";
  const inside = (at, size) => at + size <= end;
  if (!inside(tiff, 8)) return 1;
  const directory = tiff + data.getUint32(tiff + 4, little);
  if (!inside(directory, 2)) return 1;
  const count = data.getUint16(directory, little);
  for (let n = 0, at = directory + 2; n < count && inside(at, 12); n += 1, at += 12) {
    if (data.getUint16(at, little) !== 0x0112) continue;
    const found = data.getUint16(at + 8, little);
    return found >= 1 && found <= 8 ? found : 1;
  }
  return 1;
}

const MAX_SCANS = 100; // of a JPEG; encoders write 10. Each is a pass over the image
const NO_FRAMES = [0xc4, 0xc8, 0xcc]; // markers of JPEG among those of frames

function readJpeg(data, text, bytes) {
  const exif = [];
  let size, orientation;
  for (let at = 2; ; ) {
    if (data.getUint8(at) !== 0xff) throw new RangeError();
    const marker = data.getUint8(at + 1);
    if (marker === 0xff) {
      at += 1; // filled up
      continue;
    }
    if (marker === 0xda) break; // the pixels begin
    const end = at + 2 + data.getUint16(at + 2);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && !NO_FRAMES.includes(marker);
    if (isFrame && !size) {
      size = { height: data.getUint16(at + 5), width: data.getUint16(at + 7) };
    }
    if (marker === 0xe1) {
      exif.push({ start: at, end });
      orientation ??= readOrientation(data, text, at + 4, end);
    }
    at = end;
  }
  if (!size) throw new Error("a JPEG without a size");
  if (hasTooManyScans(bytes)) throw new Error(`a JPEG of more than ${MAX_SCANS} scans`);
  return { ...size, exif, orientation };
}

function hasTooManyScans(bytes) {
  let count = 0;
  for (let at = bytes.indexOf(0xff); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    // The marker, and the high byte of a length that is below 256.
    if (bytes[at + 1] === 0xda && bytes[at + 2] === 0) count += 1;
    if (count > MAX_SCANS) return true;
  }
  return false;
}

function readPng(data, text) {
  const size = { width: data.getUint32(16), height: data.getUint32(20) };
  const exif = [];
  for (let at = 8; at + 8 <= data.byteLength; ) {
    const end = at + 12 + data.getUint32(at);
    if (text(at + 4, 4) === "eXIf") exif.push({ start: at, end });
    at = end;
  }
  return { ...size, exif };
}

function readGif(data) {
  let width = data.getUint16(6, true), height = data.getUint16(8, true);
  const colours = (flags) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  let at = 13 + colours(data.getUint8(10));
  while (data.getUint8(at) === 0x21) {
    // An extension: its kind, then blocks that say their length, down to an empty one.
    for (at += 2; data.getUint8(at) > 0; ) at += 1 + data.getUint8(at);
    at += 1;
  }
  if (data.getUint8(at) !== 0x2c) throw new Error("a GIF without an image");
  const frame = {
    left: data.getUint16(at + 1, true),
    top: data.getUint16(at + 3, true),
    width: data.getUint16(at + 5, true),
    height: data.getUint16(at + 7, true),
  };
  // The first frame may reach beyond the screen, which grows to hold it.
  width = Math.max(width, frame.left + frame.width);
  height = Math.max(height, frame.top + frame.height);
  return { width, height, frame };
}

function readBmp(data) {
  if (data.getUint32(14, true) === 12) {
    return { width: data.getUint16(18, true), height: data.getUint16(20, true) };
  }
  const height = Math.abs(data.getInt32(22, true)); // negative: from the top downwards
  return { width: Math.abs(data.getInt32(18, true)), height };
}

function readWebp(data, text) {
  const uint24 = (at) => data.getUint16(at, true) + (data.getUint8(at + 2) << 16);
  const exif = [];
  for (let at = 12; at + 8 <= data.byteLength; ) {
    const length = data.getUint32(at + 4, true);
    const end = at + 8 + length + (length % 2);
    if (text(at, 4) === "EXIF") exif.push({ start: at, end });
    at = end;
  }
  switch (text(12, 4)) {
    case "VP8X":
      return { width: 1 + uint24(24), height: 1 + uint24(27), exif };
    case "VP8L": {
      const bits = data.getUint32(21, true);
      return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff), exif };
    }
    case "VP8 ": {
      const size = (at) => data.getUint16(at, true) & 0x3fff;
      return { width: size(26), height: size(28), exif };
    }
  }
  throw new Error("a WebP of an unknown kind");
}
