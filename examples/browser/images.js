// Image files as pixels: told by their contents, refused by their header.
//
// JPEG, PNG, GIF, BMP and WebP are read as the encoder's SavedModel reads them: of a
// GIF the first frame without the screen around it, of another animation the first
// frame; colour profiles are not applied, alpha is dropped. A JPEG is turned upright as
// its camera notes in EXIF.

import { orientedFile, readHeader } from "./header.js";

export const MAX_PIXELS = 2 ** 26; // of one image: 67 million
export const MAX_SIDE = 2 ** 16 - 1; // of one image, in pixels: JPEG's own limit

/**
 * Opens an image file.
 *
 * @param {Blob} file
 * @param {{exif: boolean}} options whether a JPEG is turned; not so for an encoder of a
 *   run with --exif=False
 * @returns {Promise<ImageBitmap>} to be closed by the caller
 * @throws {Error} no image that can be read, or one that claims too many pixels; the
 *   latter is not decoded
 */
export async function openImage(file, { exif = true } = {}) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const header = readHeader(bytes);
  const { width, height } = header;
  if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) {
    const most = MAX_PIXELS.toLocaleString("en");
    throw new Error(`${width} x ${height} pixels; expected at most ${most}`);
  }
  const { frame } = header;
  const part = frame ? [frame.left, frame.top, frame.width, frame.height] : [];
  try {
    return await createImageBitmap(
      new Blob(orientedFile(bytes, header, exif)),
      ...part,
      { colorSpaceConversion: "none", premultiplyAlpha: "none" }
    );
  } catch {
    throw new Error(`a ${header.format} that can't be decoded`);
  }
}

/**
 * The pixels of a part of an image.
 *
 * @param {ImageBitmap} bitmap
 * @param {{left: number, top: number, width: number, height: number}} box
 * @returns {Uint8ClampedArray | Uint8Array} RGBA, box.height * box.width * 4
 */
export function readPixels(bitmap, box) {
  const canvas = new OffscreenCanvas(box.width, box.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, -box.left, -box.top);
  const pixels = context.getImageData(0, 0, box.width, box.height).data;
  for (let at = 3; at < pixels.length; at += 4) {
    // A canvas keeps colours multiplied by alpha, so those beneath are lost.
    if (pixels[at] < 255) return readBeneathAlpha(bitmap, box);
  }
  return pixels;
}

/** As `readPixels`; a texture keeps the colours of transparent pixels. */
function readBeneathAlpha(bitmap, box) {
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2");
  if (!gl) throw new Error("transparent, which needs WebGL; save it without alpha");
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(
    gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0
  );
  const { left, top, width, height } = box;
  const pixels = new Uint8Array(width * height * 4);
  gl.readPixels(left, top, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  const failed = gl.getError() !== gl.NO_ERROR; // larger than a texture may be
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  if (failed) throw new Error("too large for its transparency; save it without alpha");
  return pixels;
}
