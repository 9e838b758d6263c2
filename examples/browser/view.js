// The view of an image that an encoder is evaluated and served with.
//
// The browser's own resizing differs from one browser to the next and blurs where it
// shrinks by much; this one is the bicubic, low-pass filtered one that Pillow and
// tf.image.resize(antialias=True) compute, to the rounding of float32.
//
// Legend: S height and width of the encoder's input.

const EVALUATION_CROP = 0.875;

/**
 * What of an image the view shows: above 32 pixels the central square of 87.5 % of the
 * shorter side, up to 32 pixels all of it.
 *
 * @param {number} width of the image, in pixels
 * @param {number} height of the image, in pixels
 * @param {number} size S
 * @returns {{left: number, top: number, width: number, height: number}}
 */
export function viewBox(width, height, size) {
  if (size <= 32) return { left: 0, top: 0, width, height };
  const side = Math.max(roundHalfToEven(EVALUATION_CROP * Math.min(width, height)), 1);
  return {
    left: Math.floor((width - side + 1) / 2),
    top: Math.floor((height - side + 1) / 2),
    width: side,
    height: side,
  };
}

/**
 * Resizes what `viewBox` has cut out.
 *
 * @param {Uint8ClampedArray | Uint8Array} pixels RGBA, height * width * 4, 0 to 255
 * @param {number} width in pixels
 * @param {number} height in pixels
 * @param {number} size S
 * @returns {Float32Array} S * S * 3, red, green, blue in [0, 1]; alpha is left out
 */
export function resize(pixels, width, height, size) {
  const across = taps(width, size);
  const rows = new Float32Array(height * size * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < size; x++) {
      const { first, weights } = across[x];
      let red = 0, green = 0, blue = 0;
      for (let k = 0, at = (y * width + first) * 4; k < weights.length; k++, at += 4) {
        red += weights[k] * pixels[at];
        green += weights[k] * pixels[at + 1];
        blue += weights[k] * pixels[at + 2];
      }
      const to = (y * size + x) * 3;
      rows[to] = red;
      rows[to + 1] = green;
      rows[to + 2] = blue;
    }
  }
  const down = taps(height, size);
  const view = new Float32Array(size * size * 3);
  const stride = size * 3;
  for (let y = 0; y < size; y++) {
    const { first, weights } = down[y];
    for (let x = 0; x < stride; x++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) {
        sum += weights[k] * rows[(first + k) * stride + x];
      }
      view[y * stride + x] = Math.min(Math.max(sum / 255, 0), 1);
    }
  }
  return view;
}

/** For each pixel of an output line: its first input pixel and the inputs' weights. */
function taps(input, output) {
  const step = input / output;
  const scale = Math.max(step, 1); // widens the filter where the image shrinks
  return Array.from({ length: output }, (_, place) => {
    const center = (place + 0.5) * step;
    const first = Math.max(Math.floor(center - 2 * scale + 0.5), 0);
    const last = Math.min(Math.floor(center + 2 * scale + 0.5), input);
    const weights = Float64Array.from({ length: last - first }, (_, k) =>
      cubic((first + k + 0.5 - center) / scale)
    );
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** The bicubic kernel of Keys (1981), a = -1/2. */
function cubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

function roundHalfToEven(x) {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below + (below % 2);
}
