// The page: files come in, embeddings and neighbours are shown. Nothing leaves.

import { Encoder } from "./encoder.js";
import { openImage, readPixels } from "./images.js";
import { findNearest, unit } from "./neighbours.js";
import { drawEmbedding, drawThumbnail, element } from "./pictures.js";
import { resize, viewBox } from "./view.js";

const MODEL = "encoder_float32.tflite"; // looked for beside this page
const NUM_NEIGHBOURS = 10;

/**
 * What has been embedded: {file, thumbnail, h (D), unit (D, h at length 1), answer
 * ({name, probability} of the likeliest class, or null), button}.
 */
export const images = [];

const part = (id) => document.getElementById(id);
const main = document.querySelector("main");
const state = { encoder: null, name: "", bytes: null, selected: null, times: [] };

/** Tasks run one after the other, so that an encoder is never exchanged at work. */
let queue = Promise.resolve();
let waiting = 0;

function enqueue(task) {
  waiting += 1;
  main.setAttribute("aria-busy", "true");
  queue = queue.then(task).catch((error) => console.error(error)).finally(() => {
    waiting -= 1;
    if (!waiting) main.setAttribute("aria-busy", "false");
  });
  return queue;
}

async function useModel(name, bytes) {
  say("model-status", `Loading ${name} …`);
  try {
    const encoder = await Encoder.load(bytes, part("accelerator").value);
    state.encoder?.delete();
    Object.assign(state, { encoder, name, bytes, times: [] });
  } catch (error) {
    say("model-status", `${name}: ${firstLine(error)}`, true);
    return;
  }
  say("model-status", "");
  const files = images.splice(0).map(({ file }) => file);
  showFacts();
  await addImages(files);
}

async function addImages(files) {
  if (!state.encoder) {
    if (files.length) say("progress", "Choose an encoder first, a .tflite file.");
    return;
  }
  for (const [n, file] of files.entries()) {
    say("progress", files.length > 1 ? `Embedding ${n + 1} of ${files.length} …` : "");
    try {
      images.push(await embed(file));
    } catch (error) {
      leaveOut(file.name, firstLine(error));
    }
    if (n % 8 === 7) await painted();
  }
  say("progress", "");
  showFacts();
  showGallery();
}

async function embed(file) {
  const { encoder } = state;
  const bitmap = await openImage(file);
  try {
    const box = viewBox(bitmap.width, bitmap.height, encoder.size);
    const pixels = readPixels(bitmap, box);
    const view = resize(pixels, box.width, box.height, encoder.size);
    const started = performance.now();
    const { h, probabilities } = await encoder.encode(view);
    state.times.push(performance.now() - started);
    if (!h.every(Number.isFinite)) throw new Error("its embedding is not finite");
    const answer = probabilities && likeliest(probabilities, encoder.classNames);
    return { file, h, unit: unit(h), answer, thumbnail: drawThumbnail(bitmap) };
  } finally {
    bitmap.close();
  }
}

function likeliest(probabilities, classNames) {
  const probability = Math.max(...probabilities);
  return { name: classNames[probabilities.indexOf(probability)], probability };
}

function showFacts() {
  const { encoder, name, times } = state;
  const sorted = [...times].sort((a, b) => a - b);
  const facts = {
    Encoder: name,
    Input: `${encoder.size} × ${encoder.size}`,
    Embedding: `${encoder.dimension} numbers`,
    ...(encoder.classNames && { Classes: encoder.classNames.length }),
    "Runs on": encoder.accelerator === "webgpu" ? "GPU" : "CPU",
    "An image takes": times.length
      ? `${sorted[sorted.length >> 1].toFixed(1)} ms` : "–",
  };
  part("model-facts").replaceChildren(
    ...Object.entries(facts).map(([term, value]) =>
      element("div", {}, element("dt", {}, term), element("dd", {}, value))
    )
  );
}

function showGallery() {
  part("collection").hidden = part("neighbours").hidden = images.length === 0;
  part("count").textContent = `${images.length} image${images.length === 1 ? "" : "s"}`;
  for (const image of images) {
    image.button ??= imageButton(image);
  }
  part("gallery").replaceChildren(...images.map(({ button }) => button));
  const kept = images.find(({ file }) => file === state.selected?.file);
  if (images.length) select(kept ?? images[0]);
}

function imageButton(image) {
  const { name } = image.file;
  const label = { type: "button", "aria-label": name, title: name };
  const button = element("button", label, image.thumbnail());
  button.addEventListener("click", () => select(image));
  return button;
}

/** Shows an image's neighbours. */
function select(image) {
  state.selected = image;
  for (const { button } of images) {
    const isSelected = button === image.button;
    button.setAttribute("aria-pressed", String(isSelected));
    button.tabIndex = isSelected ? 0 : -1; // one stop of the Tab key, then arrows
  }
  const isWalking = part("nearest").contains(document.activeElement);
  part("query").replaceChildren(...describe(image, image.thumbnail(), "query"));
  part("nearest").replaceChildren(
    ...findNearest(image, images, NUM_NEIGHBOURS).map(({ image: found, cosine }) => {
      const figure = describe(found, imageButton(found), cosine.toFixed(3));
      return element("li", {}, element("figure", {}, ...figure));
    })
  );
  // The button that was pressed is gone: the keyboard goes on from the new neighbours.
  if (isWalking) part("nearest").querySelector("button")?.focus();
}

function describe(image, picture, says) {
  const title = image.file.name.replace(/\.\w+$/, "");
  const caption = element(
    "figcaption", {}, element("span", {}, title), element("b", {}, says)
  );
  if (image.answer) {
    const { name, probability } = image.answer;
    caption.append(element("i", {}, `${name}, ${(100 * probability).toFixed(0)} %`));
  }
  return [picture, drawEmbedding(image.h), caption];
}

function leaveOut(name, reason) {
  part("problems").hidden = false;
  part("problems").querySelector("ul").append(element("li", {}, `${name}: ${reason}`));
}

function say(id, words, failed = false) {
  part(id).textContent = words;
  part(id).classList.toggle("failed", failed);
}

function firstLine(error) {
  return String(error?.message ?? error).split("\n")[0];
}

function painted() {
  return new Promise((resolve) => setTimeout(resolve));
}

/** Takes files of either kind: encoders and images. */
export function takeFiles(files) {
  const isModel = (file) => file.name.toLowerCase().endsWith(".tflite");
  part("problems").hidden = true;
  part("problems").querySelector("ul").replaceChildren();
  for (const file of files.filter(isModel)) {
    enqueue(async () =>
      useModel(file.name, new Uint8Array(await file.arrayBuffer()))
    );
  }
  const others = files.filter((file) => !isModel(file));
  if (others.length) enqueue(() => addImages(others));
}

for (const id of ["image-files", "model-file"]) {
  part(id).addEventListener("change", ({ target }) => {
    takeFiles([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  });
}

part("accelerator").addEventListener("change", () => {
  if (state.bytes) enqueue(() => useModel(state.name, state.bytes));
});

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  takeFiles([...event.dataTransfer.files]);
});

part("gallery").addEventListener("keydown", (event) => {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const place = images.findIndex(({ button }) => button === document.activeElement);
  if (!(event.key in steps) || place < 0) return;
  event.preventDefault();
  const next = images[(place + steps[event.key] + images.length) % images.length];
  select(next);
  next.button.focus();
});

part("clear").addEventListener("click", () =>
  enqueue(() => {
    images.length = 0;
    state.selected = null;
    showGallery();
  })
);

part("save").addEventListener("click", () => {
  const embeddings = images.map(({ file, h, answer }) => ({
    name: file.name,
    h: [...h],
    ...(answer && { class: answer.name, probability: answer.probability }),
  }));
  const contents = JSON.stringify({ encoder: state.name, embeddings });
  const link = element("a", {
    href: URL.createObjectURL(new Blob([contents], { type: "application/json" })),
    download: "embeddings.json",
  });
  link.click();
  URL.revokeObjectURL(link.href);
});

if (!navigator.gpu) part("accelerator").querySelector("[value=webgpu]").disabled = true;

enqueue(async () => {
  // Asked for anew: an encoder that was exchanged is not the one of the cache.
  const answer = await fetch(MODEL, { cache: "no-cache" }).catch(() => null);
  if (answer?.ok) await useModel(MODEL, new Uint8Array(await answer.arrayBuffer()));
  else say("model-status", "Choose an encoder, a .tflite file of export.py.");
});
