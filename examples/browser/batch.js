// LiteRT.js runs no model whose number of images is left open (-1, as exports leave
// it), although the file also says what it is at first (1). This writes the latter over
// the former. What is read here is FlatBuffers: tables that know where their fields lie.
//
// Reference: tensorflow/compiler/mlir/lite/schema/schema.fbs for the fields' numbers.

const MODEL_SUBGRAPHS = 2, SUBGRAPH_TENSORS = 0, TENSOR_SHAPE = 0, TENSOR_SIGNATURE = 7;

/**
 * @param {Uint8Array} bytes of a TFLite file
 * @returns {Uint8Array} a copy whose shapes are all fixed
 * @throws {Error} no TFLite file
 */
export function fixBatch(bytes) {
  const copy = bytes.slice();
  const data = new DataView(copy.buffer);
  if (String.fromCharCode(...copy.subarray(4, 8)) !== "TFL3") {
    throw new Error("no TFLite file");
  }
  try {
    const model = data.getUint32(0, true);
    for (const graph of tables(data, field(data, model, MODEL_SUBGRAPHS))) {
      for (const tensor of tables(data, field(data, graph, SUBGRAPH_TENSORS))) {
        const shape = elements(data, field(data, tensor, TENSOR_SHAPE));
        const signature = elements(data, field(data, tensor, TENSOR_SIGNATURE));
        signature.forEach((at, axis) => {
          if (data.getInt32(at, true) === -1) {
            data.setInt32(at, data.getInt32(shape[axis], true), true);
          }
        });
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new Error("a TFLite file that is incomplete");
  }
  return copy;
}

/** Where the vector of a table's field lies; 0 where the table lacks it. */
function field(data, table, number) {
  const layout = table - data.getInt32(table, true);
  const entry = 4 + 2 * number;
  const known = entry < data.getUint16(layout, true);
  const offset = known ? data.getUint16(layout + entry, true) : 0;
  return offset && follow(data, table + offset);
}

/** Where the elements of a vector of 4 bytes each lie. */
function elements(data, vector) {
  const length = vector ? data.getUint32(vector, true) : 0;
  if (length * 4 > data.byteLength) throw new RangeError();
  return Array.from({ length }, (_, n) => vector + 4 + 4 * n);
}

function tables(data, vector) {
  return elements(data, vector).map((at) => follow(data, at));
}

function follow(data, at) {
  return at + data.getUint32(at, true);
}
