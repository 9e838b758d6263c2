// The names of the classes that a TFLite file with a classifier tells apart: a zip
// archive at the end of the file, with a labels.txt, one name a line, not compressed.
//
// Reference: APPNOTE.TXT of PKWARE, 4.3.7 (local header), 4.3.12 (directory), 4.3.16 (end).

const END = 0x06054b50, END_LENGTH = 22, ENTRY = 0x02014b50, ENTRY_LENGTH = 46;
const NAME = "labels.txt";

/**
 * @param {Uint8Array} bytes of a TFLite file
 * @returns {string[] | null} null of a file without names
 */
export function readClassNames(bytes) {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - END_LENGTH;
  if (end < 0 || data.getUint32(end, true) !== END) return null;
  let at = data.getUint32(end + 16, true);
  while (at < end && data.getUint32(at, true) === ENTRY) {
    const [name, extra, comment] = [28, 30, 32].map((n) => data.getUint16(at + n, true));
    const from = at + ENTRY_LENGTH;
    const isPlain = data.getUint16(at + 10, true) === 0; // not compressed
    if (isPlain && text(bytes.subarray(from, from + name)) === NAME) {
      const size = data.getUint32(at + 20, true);
      const header = data.getUint32(at + 42, true);
      const lengths = [26, 28].map((n) => data.getUint16(header + n, true));
      const start = header + 30 + lengths[0] + lengths[1];
      return text(bytes.subarray(start, start + size)).split("\n");
    }
    at = from + name + extra + comment;
  }
  return null;
}

function text(bytes) {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}
