// What the page draws: thumbnails and embeddings.

const SIDE = 256; // of a thumbnail, in pixels at most

/**
 * @param {ImageBitmap} bitmap
 * @returns {() => HTMLCanvasElement} draws its central square, each time anew
 */
export function drawThumbnail(bitmap) {
  const square = Math.min(bitmap.width, bitmap.height);
  const side = Math.min(square, SIDE);
  const left = (bitmap.width - square) / 2, top = (bitmap.height - square) / 2;
  const source = new OffscreenCanvas(side, side);
  const context = source.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, left, top, square, square, 0, 0, side, side);
  return () => {
    const canvas = element("canvas", { class: "picture", width: side, height: side });
    canvas.getContext("2d").drawImage(source, 0, 0);
    return canvas;
  };
}

/**
 * An embedding as a strip: a column for each number, in order; white is 0, the largest
 * is orange, and blue is below 0.
 *
 * @param {Float32Array} h D
 * @returns {HTMLCanvasElement}
 */
export function drawEmbedding(h) {
  const label = `embedding, ${h.length} numbers`;
  const canvas = element("canvas", {
    class: "embedding", width: h.length, height: 1, role: "img", "aria-label": label,
  });
  const most = h.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-12);
  const strip = new ImageData(h.length, 1);
  h.forEach((value, n) => {
    const strength = Math.abs(value) / most;
    const colour = value < 0 ? [0, 114, 178] : [213, 94, 0];
    const mixed = colour.map((channel) => 255 + (channel - 255) * strength);
    strip.data.set([...mixed, 255], n * 4);
  });
  canvas.getContext("2d").putImageData(strip, 0, 0);
  return canvas;
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
