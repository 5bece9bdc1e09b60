"use strict";
// The page of one comparison. Everything it needs is in the file: `data` is what listening.py wrote.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const N_FFT = 512, RANGE_DB = 80, MOST_FRAMES = 900, STORE = `diffsr-listen-${data.key}`;
// Nine colours of matplotlib's magma, evenly spaced.
const MAGMA = [[0, 0, 4], [29, 17, 71], [81, 18, 124], [131, 38, 129], [183, 55, 121], [231, 82, 99],
  [252, 137, 97], [254, 196, 136], [252, 253, 191]];

const kept = JSON.parse(storage("get") || "null") || { seed: Math.floor(Math.random() * 2 ** 31), ratings: {} };
const state = { item: 0, track: 0, metric: data.metrics.length ? data.metrics[0].name : null,
  sorted: { by: null, falls: true }, blind: false, rows: [] };

function storage(verb, text) {  // a browser may forbid it to files
  try {
    return verb === "get" ? localStorage.getItem(STORE) : localStorage.setItem(STORE, text);
  } catch {
    return null;
  }
}

function element(kind, attributes = {}, ...children) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// --- numbers ------------------------------------------------------------------------------------

const metricOf = (name) => data.metrics.find((metric) => metric.name === name);

function shown(value, metric, signed = false) {
  if (value === null || value === undefined) return "–";
  const text = value.toFixed(metric.digits);
  return signed && value >= 0 ? `+${text}` : text;
}

function gainClass(gain) {
  if (gain === null || gain === undefined || Math.abs(gain) < 1e-4) return "";
  return gain > 0 ? "better" : "worse";
}

/** What stands in the list for a system: its improvement, or its score where there is no input. */
function listed(item, system) {
  const found = item.scores[system] || {};
  const gain = (found.gain || {})[state.metric];
  return gain !== null && gain !== undefined
    ? { value: gain, signed: true } : { value: (found.output || {})[state.metric] ?? null, signed: false };
}

/** The same order of numbers for the same seed (mulberry32). */
function randomOf(seed) {
  let a = seed | 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(list, seed) {
  const made = [...list], random = randomOf(seed);
  for (let last = made.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [made[last], made[other]] = [made[other], made[last]];
  }
  return made;
}

/** What is shown of an item: in a blind test an open reference, then all in an order that tells nothing. */
function rowsOf(number) {
  const { tracks, in_order: isInOrder } = data.items[number];
  const open = tracks.map((track, place) => ({ track, place, name: track.name, isRated: false }));
  if (!state.blind) return open;
  if (!isInOrder) return open.filter((row) => row.track.role !== "system");  // nothing to compare with
  const groups = [...new Set(tracks.map((track) => track.talker))];
  const rows = [];
  for (const talker of groups) {
    const group = open.filter((row) => row.track.talker === talker);
    const voice = groups.length > 1 && talker ? ` ${talker}` : "";
    if (groups.length > 1 && group.every((row) => row.track.role === "input")) {  // that of all talkers
      rows.push(...group);
      continue;
    }
    rows.push(...group.filter((row) => row.track.role === "clean").map((row) => ({ ...row, name: `reference${voice}` })));
    shuffled(group, kept.seed + 1009 * number + talker).forEach((row, place) => rows.push(
      { ...row, name: `${String.fromCharCode(65 + place)}${voice}`, isRated: true }));
  }
  return rows;
}

// --- sound --------------------------------------------------------------------------------------
// All tracks of an item play at once, one of them audible, so that a change of tracks loses no moment.

const player = { context: null, item: null, buffers: [], sources: [], gains: [], offset: 0, startedAt: 0, on: false, loops: false };

/** At its own rate, of which the picture is, within what all browsers take. */
const decodedHz = (track) => Math.max(8000, Math.min(96000, track.rate_hz));

async function buffersOf(number) {
  const item = data.items[number];
  if (!item.buffers) {
    item.decoded = await Promise.all(item.tracks.map((track) => {
      const bytes = Uint8Array.from(atob(track.audio), (letter) => letter.charCodeAt(0));
      return new OfflineAudioContext(1, 1, decodedHz(track)).decodeAudioData(bytes.buffer);
    }));
    const whole = Math.max(...item.decoded.map((buffer) => buffer.duration));
    item.buffers = item.decoded.map((buffer) => padded(buffer, whole));
  }
  return item.buffers;
}

/** With silence after it, so that tracks of different lengths go round together. */
function padded(buffer, duration) {
  const { numberOfChannels, sampleRate } = buffer, length = Math.round(duration * sampleRate);
  if (buffer.length >= length) return buffer;
  const made = new AudioBuffer({ numberOfChannels, sampleRate, length });
  for (let channel = 0; channel < numberOfChannels; channel++) made.copyToChannel(buffer.getChannelData(channel), channel);
  return made;
}

const longest = () => Math.max(0, ...player.buffers.map((buffer) => buffer.duration));

function moment() {
  if (!player.on) return player.offset;
  const at = player.offset + player.context.currentTime - player.startedAt;
  return player.loops ? at % longest() : Math.min(at, longest());
}

function volumeOf(place) {
  if (state.rows[state.track].place !== place) return 0;
  return byId("equal").checked ? equalVolumes(data.items[state.item].tracks)[place] : 1;
}

/** Factors that make tracks as loud as the first; all are softer where one would be beyond full scale. */
function equalVolumes(tracks) {
  const loudness = tracks.find((track) => track.level_db !== null)?.level_db;
  const wanted = tracks.map((track) => (track.level_db === null ? 1 : 10 ** ((loudness - track.level_db) / 20)));
  const highest = Math.max(1, ...tracks.map((track, place) => wanted[place] * track.peak));
  return wanted.map((factor) => factor / highest);
}

function mix() {
  player.gains.forEach((gain, place) => gain.gain.setTargetAtTime(volumeOf(place), player.context.currentTime, 0.005));
}

function halt() {
  player.offset = moment();
  player.sources.forEach((source) => source.stop());
  player.sources = [];
  player.gains = [];
  player.on = false;
  byId("play").textContent = "▶";
}

function start() {
  player.context ||= new AudioContext();
  player.context.resume();
  if (player.offset >= longest() - 0.02) player.offset = 0;
  player.loops = byId("loop").checked;
  player.gains = player.buffers.map((buffer, place) => {
    const gain = player.context.createGain(), source = player.context.createBufferSource();
    gain.gain.value = volumeOf(place);
    source.buffer = buffer;
    source.loop = player.loops;
    source.connect(gain).connect(player.context.destination);
    source.start(0, Math.min(player.offset, buffer.duration));
    player.sources.push(source);
    return gain;
  });
  player.startedAt = player.context.currentTime;
  player.on = true;
  byId("play").textContent = "❚❚";
}

function toggle() {
  if (player.on) halt();
  else if (player.buffers.length) start();
}

function seek(to) {
  const wasOn = player.on;
  if (wasOn) halt();
  player.offset = Math.max(0, Math.min(to, longest()));
  if (wasOn) start();
}

function tick() {
  const at = moment(), whole = longest();
  if (player.on && !player.loops && at >= whole) {
    halt();
    player.offset = 0;
  }
  byId("position").value = whole ? at / whole : 0;
  byId("time").textContent = `${at.toFixed(1)} / ${whole.toFixed(1)} s`;
  document.querySelectorAll(".head-line").forEach((line) => { line.style.left = `${whole ? 100 * at / whole : 0}%`; });
  requestAnimationFrame(tick);
}

// --- pictures -----------------------------------------------------------------------------------

/** In place, of a power of two. */
function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    for (let start = 0; start < n; start += size) {
      for (let k = 0; k < size / 2; k++) {
        const angle = -2 * Math.PI * k / size, c = Math.cos(angle), s = Math.sin(angle);
        const a = start + k, b = a + size / 2;
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}

/** Power in dB of the mean of the channels, frame after frame; 0 dB is a sine of full scale. */
function spectrogram(buffer) {
  const n = buffer.length, hop = Math.max(64, Math.ceil(n / MOST_FRAMES)), nFrames = Math.max(1, Math.ceil(n / hop));
  const wave = new Float32Array(n), nBins = N_FFT / 2 + 1, found = new Float32Array(nFrames * nBins);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    buffer.getChannelData(channel).forEach((sample, t) => { wave[t] += sample / buffer.numberOfChannels; });
  }
  for (let frame = 0; frame < nFrames; frame++) {
    const re = new Float32Array(N_FFT), im = new Float32Array(N_FFT);
    for (let t = 0; t < N_FFT; t++) {
      const at = frame * hop + t - N_FFT / 2;
      re[t] = (wave[at] || 0) * (0.5 - 0.5 * Math.cos(2 * Math.PI * t / N_FFT));
    }
    fft(re, im);
    for (let bin = 0; bin < nBins; bin++) {
      const power = (re[bin] ** 2 + im[bin] ** 2) * (4 / N_FFT) ** 2;
      found[frame * nBins + bin] = 10 * Math.log10(power + 1e-12);
    }
  }
  return { nFrames, nBins, found };
}

function colour(share) {
  const at = Math.max(0, Math.min(1, share)) * (MAGMA.length - 1), low = Math.min(Math.floor(at), MAGMA.length - 2);
  return MAGMA[low].map((value, k) => value + (at - low) * (MAGMA[low + 1][k] - value));
}

const COLOURS = Array.from({ length: 256 }, (_, index) => colour(index / 255));

function draw(canvas, picture, topDb) {
  canvas.width = picture.nFrames;
  canvas.height = picture.nBins;
  const context = canvas.getContext("2d"), image = context.createImageData(picture.nFrames, picture.nBins);
  for (let frame = 0; frame < picture.nFrames; frame++) {
    for (let bin = 0; bin < picture.nBins; bin++) {
      const share = (picture.found[frame * picture.nBins + bin] - topDb + RANGE_DB) / RANGE_DB;
      const at = 4 * ((picture.nBins - 1 - bin) * picture.nFrames + frame);
      const [r, g, b] = COLOURS[Math.max(0, Math.min(255, Math.round(255 * share)))];
      image.data.set([r, g, b, 255], at);
    }
  }
  context.putImageData(image, 0, 0);
}

function loudest(picture) {
  let top = -120;
  for (const value of picture.found) if (value > top) top = value;
  return top;
}

// --- the page -----------------------------------------------------------------------------------

function showSummary() {
  const box = byId("summary");
  box.replaceChildren();
  const rated = meanRatings();
  if (state.blind || (!data.summary.length && !rated.length)) return;
  if (data.summary.length) {
    const cell = (found) => (found ? [found.mean, element("small", {}, found.more)] : ["–"]);
    box.append(tableOf([`mean of ${data.compared}`, ...data.metrics.map((metric) => metric.label)],
      data.summary.map((line) => [[line.name], ...data.metrics.map((metric) => cell(line.scores[metric.name]))])));
  }
  if (rated.length) {
    box.append(tableOf(["blind ratings", "mean", "ratings"], rated.map((row) => [[row.name], [row.mean.toFixed(1)], [`${row.n}`]])));
  }
}

function tableOf(head, rows) {
  const line = (kind, cells) => element("tr", {}, ...cells.map((cell) => element(kind, {}, ...cell)));
  return element("table", {}, element("thead", {}, line("th", head.map((text) => [text]))),
    element("tbody", {}, ...rows.map((row) => line("td", row))));
}

function showList() {
  const wanted = byId("filter").value.toLowerCase(), metric = metricOf(state.metric);
  const systems = metric && !state.blind ? data.systems : [];
  const arrow = (by) => (state.sorted.by === by ? (state.sorted.falls ? " ↓" : " ↑") : "");
  const sortBy = (by) => () => {
    state.sorted = { by, falls: state.sorted.by === by ? !state.sorted.falls : true };
    showList();
  };
  const head = element("tr", {}, element("th", { onclick: sortBy(null) }, "item"),
    ...systems.map((name) => element("th", { onclick: sortBy(name), title: "improvement over the recording, or the score where there is none" },
      name + arrow(name))));
  const numbers = shownItems(wanted);
  const body = numbers.map((number) => {
    const item = data.items[number];
    const cells = systems.map((system) => {
      const { value, signed } = listed(item, system);
      return element("td", { class: signed ? gainClass(value) : "" }, shown(value, metric, signed));
    });
    return element("tr", { "aria-current": `${number === state.item}`, onclick: () => choose(number) },
      element("td", {}, item.id), ...cells);
  });
  byId("list").replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
}

function shownItems(wanted = byId("filter").value.toLowerCase()) {
  const numbers = data.items.map((_, number) => number).filter((number) => data.items[number].id.toLowerCase().includes(wanted));
  const { by, falls } = state.sorted;
  if (by === null || state.blind) return numbers;
  const value = (number) => listed(data.items[number], by).value ?? -Infinity;
  return numbers.sort((a, b) => (falls ? value(b) - value(a) : value(a) - value(b)));
}

function showTracks() {
  const item = data.items[state.item];
  byId("name").textContent = item.id;
  const blindNote = item.in_order ? [] : ["cannot be compared blindly: talkers are not the same in all systems"];
  byId("notes").replaceChildren(...(state.blind ? blindNote : item.notes).map((text) => element("li", {}, text)));
  byId("tracks").replaceChildren(...state.rows.map((row, number) => rowElement(item, row, number)));
  if (!state.blind) drawAll(state.item);
}

function rowElement(item, row, number) {
  const { track } = row;
  const head = element("div", { class: "head", onclick: () => listen(number) },
    element("kbd", {}, number < 9 ? `${number + 1}` : "–"), element("span", { class: "name", title: state.blind ? "" : track.file }, row.name));
  const made = element("div", { class: "track", "aria-current": `${number === state.track}` }, head);
  if (state.blind) {
    if (row.isRated) made.append(ratingElement(item, track));
    return made;
  }
  for (const metric of data.metrics) {
    const value = (track.scores || {})[metric.name];
    if (value === undefined) continue;
    const gain = (track.gains || {})[metric.name];
    const parts = [`${metric.label} ${shown(value, metric)}`];
    if (gain !== null && gain !== undefined) {
      parts.push(element("span", { class: gainClass(gain) }, ` (${shown(gain, metric, true)})`));
    }
    head.append(element("span", { class: "score" }, ...parts));
  }
  for (const fact of track.facts || []) head.append(element("span", { class: "fact" }, fact));
  const picture = element("div", { class: "picture", onclick: (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    listen(number);
    seek((event.clientX - box.left) / box.width * longest());
  } }, element("canvas", { role: "img", "aria-label": `spectrogram of ${row.name}` }), element("div", { class: "head-line" }),
    element("div", { class: "top" }, `${(decodedHz(track) / 2000).toFixed(1)} kHz`));
  made.append(picture);
  return made;
}

const keyOf = (item, track) => JSON.stringify([item.id, track.role, track.system, track.talker]);

function ratingElement(item, track) {
  const key = keyOf(item, track);
  const value = element("output", {}, `${kept.ratings[key] ?? "–"}`);
  const slider = element("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": "rating",
    oninput: (event) => rate(event.target), onpointerup: (event) => rate(event.target) });
  const rate = (from) => {  // also where it is left in the middle, which is no input
    kept.ratings[key] = Number(from.value);
    value.textContent = from.value;
    storage("set", JSON.stringify(kept));
  };
  slider.value = kept.ratings[key] ?? 50;
  return element("label", { class: "rating" }, "bad", slider, "excellent", value);
}

async function drawAll(number) {
  const item = data.items[number];
  await buffersOf(number).catch(() => []);  // `choose` tells why
  if (!item.decoded) return;
  const buffers = item.decoded;
  item.pictures ||= buffers.map(spectrogram);
  if (state.item !== number || state.blind) return;
  const topDb = Math.max(...item.pictures.map(loudest), RANGE_DB - 120);
  const whole = Math.max(...buffers.map((buffer) => buffer.duration));
  document.querySelectorAll(".picture canvas").forEach((canvas, row) => {
    const { place } = state.rows[row];
    draw(canvas, item.pictures[place], topDb);
    canvas.style.width = `${100 * buffers[place].duration / whole}%`;
  });
}

async function choose(number) {
  if (player.on) halt();
  state.item = number;
  state.track = Math.min(state.track, data.items[number].tracks.length - 1);
  state.rows = rowsOf(number);
  player.buffers = [];
  player.offset = 0;
  showList();
  document.querySelector("#list tr[aria-current=true]")?.scrollIntoView({ block: "nearest" });
  showTracks();
  try {
    const buffers = await buffersOf(number);
    if (state.item === number) player.buffers = buffers;
  } catch (error) {
    byId("notes").append(element("li", {}, `This browser cannot play it: ${error.message}`));
  }
}

function listen(number) {
  if (number >= state.rows.length) return;
  state.track = number;
  document.querySelectorAll(".track").forEach((row, place) => row.setAttribute("aria-current", `${place === number}`));
  if (player.on) mix();
}

function setBlind(blind) {
  state.blind = blind;
  byId("blind").checked = blind;
  state.track = 0;
  state.rows = rowsOf(state.item);
  showSummary();
  showList();
  showTracks();
  if (player.on) mix();
}

function step(by) {
  const numbers = shownItems(), place = numbers.indexOf(state.item);
  const next = numbers[Math.max(0, Math.min(numbers.length - 1, place + by))];
  if (next !== undefined && next !== state.item) choose(next);
}

// --- ratings ------------------------------------------------------------------------------------

function allRatings() {
  return data.items.flatMap((item) => item.tracks
    .filter((track) => keyOf(item, track) in kept.ratings)
    .map((track) => ({ item: item.id, track: track.name, role: track.role, system: track.system, talker: track.talker,
      rating: kept.ratings[keyOf(item, track)] })));
}

function meanRatings() {
  const groups = new Map();
  for (const { role, system, rating } of allRatings()) {
    const name = role === "system" ? system : role === "clean" ? "clean (hidden reference)" : "recording";
    groups.set(name, [...(groups.get(name) || []), rating]);
  }
  return [...groups].map(([name, ratings]) => (
    { name, n: ratings.length, mean: ratings.reduce((sum, one) => sum + one, 0) / ratings.length }));
}

function exportRatings() {
  const text = JSON.stringify({ title: data.title, made: new Date().toISOString(), scale: [0, 100], ratings: allRatings() }, null, 1);
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "ratings.json" });
  link.click();
  URL.revokeObjectURL(link.href);
}

// --- start --------------------------------------------------------------------------------------

byId("title").textContent = data.title;
byId("about").textContent = data.about;
for (const metric of data.metrics) byId("metric").append(element("option", { value: metric.name }, metric.label));
byId("metric").hidden = !data.metrics.length;
byId("metric").addEventListener("change", (event) => { state.metric = event.target.value; showList(); });
byId("filter").addEventListener("input", showList);
byId("play").addEventListener("click", toggle);
byId("position").addEventListener("input", (event) => seek(event.target.value * longest()));
byId("equal").addEventListener("change", () => { if (player.on) mix(); });
byId("loop").addEventListener("change", () => { if (player.on) seek(moment()); });
byId("blind").addEventListener("change", (event) => setBlind(event.target.checked));
byId("export").addEventListener("click", exportRatings);
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input[type=search], select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const slides = event.target.matches("input[type=range]");
  if (event.key === " " && event.target.matches("input[type=checkbox], button")) return;  // it is for these
  const does = { " ": toggle, b: () => setBlind(!state.blind), ...(slides ? {} : {
    ArrowLeft: () => seek(moment() - 1), ArrowRight: () => seek(moment() + 1),
    ArrowUp: () => step(-1), ArrowDown: () => step(1) }) };
  if (event.repeat && [" ", "b"].includes(event.key)) return;
  if (/^[1-9]$/.test(event.key)) listen(Number(event.key) - 1);
  else if (event.key in does) does[event.key]();
  else return;
  event.preventDefault();
});
showSummary();
choose(0);
tick();
