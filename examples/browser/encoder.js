// A TFLite encoder in LiteRT.js, on the CPU (WebAssembly, XNNPACK) or by WebGPU.
//
// Legend: S height and width of the encoder's input, D length of the representation h,
// C classes.

import { fixBatch } from "./batch.js";
import { readClassNames } from "./labels.js";

const WASM = new URL("./node_modules/@litertjs/core/wasm/", import.meta.url).href;

/** LiteRT.js, loaded once. */
let runtime;

function loadRuntime() {
  runtime ??= (async () => {
    let litert;
    try {
      litert = await import("@litertjs/core");
    } catch {
      throw new Error("LiteRT.js is not here; run `npm ci` in this folder");
    }
    // Where WebGPU lacks an operation of a model, JSPI lets the CPU step in; the
    // runtime relies on it in every browser that has it.
    await litert.loadLiteRt(WASM, { jspi: await litert.supportsFeature("jspi") });
    return litert;
  })();
  return runtime;
}

export class Encoder {
  /** S. */ size;
  /** D. */ dimension;
  /**
   * The C classes, numbers where the file does not name them; null of a file without a
   * classifier. @type {string[] | null}
   */
  classNames;

  #litert;
  #model;
  #input;

  /**
   * Loads the contents of a TFLite file.
   *
   * @param {Uint8Array} bytes of an encoder: images (N, S, S, 3), float32 in [0, 1] or
   *   uint8, to a representation (N, D), float32, and of one with a classifier to
   *   probabilities (N, C)
   * @param {"wasm" | "webgpu"} accelerator
   * @returns {Promise<Encoder>}
   * @throws {Error} no such file, or one that this runtime can't run
   */
  static async load(bytes, accelerator) {
    const litert = await loadRuntime();
    const encoder = new Encoder();
    encoder.#litert = litert;
    const fixed = fixBatch(bytes);
    const options = { accelerator, gpuOptions: { precision: "fp32" } }; // not fp16
    try {
      encoder.#model = await litert.loadAndCompile(fixed, options);
    } catch (error) {
      if (accelerator !== "webgpu") throw error;
      throw new Error("WebGPU can't run it here; choose the CPU", { cause: error });
    }
    try {
      encoder.#readDetails(bytes);
    } catch (error) {
      encoder.delete();
      throw error;
    }
    return encoder;
  }

  #readDetails(bytes) {
    const inputs = this.#model.getInputDetails();
    const outputs = this.#model.getOutputDetails();
    const output = outputs.find(({ name }) => name === "representation");
    const classes = outputs.find(({ name }) => name === "probabilities");
    const [input] = inputs;
    const shape = [...input.shape];
    const isEncoder = inputs.length === 1 && shape.length === 4 &&
      shape[1] === shape[2] && output;
    if (!isEncoder) throw new Error("a TFLite file, but not of an encoder");
    if (shape[3] !== 3) {
      throw new Error(`it takes ${shape[3]} channels; the page needs RGB`);
    }
    if (!["float32", "uint8"].includes(input.dtype) || output.dtype !== "float32") {
      throw new Error(
        `it takes ${input.dtype} and gives ${output.dtype}; the page needs float32 ` +
          "out: take encoder_int8.tflite"
      );
    }
    this.#input = { ...input, shape };
    this.size = shape[1];
    this.dimension = output.shape[output.shape.length - 1];
    const numClasses = classes?.shape[classes.shape.length - 1];
    this.classNames = classes === undefined ? null
      : readClassNames(bytes) ?? Array.from({ length: numClasses }, (_, n) => String(n));
  }

  /**
   * The representation of one image, and of which class it is.
   *
   * @param {Float32Array} view S * S * 3, in [0, 1]
   * @returns {Promise<{h: Float32Array, probabilities: Float32Array | null}>} D; C, or
   *   null of a file without a classifier
   */
  async encode(view) {
    // A file of a larger fixed batch gets zeros for the other images.
    const count = this.#input.shape.reduce((a, b) => a * b);
    const isPixels = this.#input.dtype === "uint8";
    const numbers = isPixels ? new Uint8Array(count) : new Float32Array(count);
    numbers.set(isPixels ? view.map((value) => Math.round(value * 255)) : view);
    const images = new this.#litert.Tensor(numbers, this.#input.shape);
    const tensors = [images];
    try {
      const outputs = await this.#model.run({ [this.#input.name]: images });
      tensors.push(...Object.values(outputs));
      // Of a batch the first image's numbers.
      const read = async (name, length) => (await outputs[name].data()).slice(0, length);
      return {
        h: await read("representation", this.dimension),
        probabilities: this.classNames &&
          await read("probabilities", this.classNames.length),
      };
    } finally {
      // WebAssembly's memory is not collected as garbage.
      for (const tensor of tensors) if (!tensor.deleted) tensor.delete();
    }
  }

  /** What it runs on: wasm too where WebGPU was asked for and can't. */
  get accelerator() {
    return this.#model.options.accelerator;
  }

  /** Frees the memory; the encoder can't be used after it. */
  delete() {
    this.#model.delete();
  }
}
