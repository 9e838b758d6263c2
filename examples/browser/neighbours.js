// Nearest neighbours by the cosine of their embeddings.

/**
 * @param {Float32Array} h D
 * @returns {Float32Array} the same direction, of length 1; zeros stay zeros
 */
export function unit(h) {
  const length = Math.sqrt(h.reduce((sum, value) => sum + value * value, 0));
  return h.map((value) => value / Math.max(length, 1e-12));
}

/**
 * @template {{unit: Float32Array}} Image
 * @param {Image} query
 * @param {Image[]} images among which the query itself may be; it is not found
 * @param {number} count how many to find at most
 * @returns {{image: Image, cosine: number}[]} the most alike first
 */
export function findNearest(query, images, count) {
  return images
    .filter((image) => image !== query)
    .map((image) => ({ image, cosine: dot(query.unit, image.unit) }))
    .sort((a, b) => b.cosine - a.cosine)
    .slice(0, count);
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
