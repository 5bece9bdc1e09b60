// What must hold of the script of a page, run after it on the two items of the test.
const assert = require("assert");
const re = new Float32Array(64).map(() => Math.random()), im = new Float32Array(64).map(() => Math.random());
const expected = [...re].map((_, k) => [...re].reduce(([x, y], _, t) => {
  const c = Math.cos(2 * Math.PI * k * t / 64), s = Math.sin(2 * Math.PI * k * t / 64);
  return [x + re[t] * c + im[t] * s, y + im[t] * c - re[t] * s];
}, [0, 0]));
fft(re, im);
expected.forEach(([x, y], k) => assert(Math.abs(re[k] - x) + Math.abs(im[k] - y) < 1e-4));
assert.deepStrictEqual(shuffled([1, 2, 3, 4, 5], 7), shuffled([1, 2, 3, 4, 5], 7));
assert.deepStrictEqual([...shuffled([1, 2, 3, 4, 5], 8)].sort(), [1, 2, 3, 4, 5]);
assert(new Set([...Array(50).keys()].map((seed) => shuffled([1, 2, 3], seed).join())).size === 6);
buffersOf(0).then((buffers) => {
  const picture = spectrogram(buffers[0]);
  const frame = Math.floor(picture.nFrames / 2) * picture.nBins;
  assert(Math.abs(picture.found[frame + 64]) < 0.1, "a sine of full scale is 0 dB");
  assert(picture.found[frame + 80] < -60);
});
assert.deepStrictEqual(rowsOf(0).map((row) => row.name), ["recording", "good", "bad", "clean"]);
state.blind = true;
const rows = rowsOf(0);
assert.deepStrictEqual(rows.map((row) => row.name), ["reference", "A", "B", "C", "D"]);
assert.deepStrictEqual(rows.map((row) => row.isRated), [false, true, true, true, true]);
assert.deepStrictEqual(rows.slice(1).map((row) => row.track.name).sort(), ["bad", "clean", "good", "recording"]);
state.blind = false;
const [first, second] = data.items;
kept.ratings = { [keyOf(first, first.tracks[1])]: 80, [keyOf(second, second.tracks[1])]: 60,
  [keyOf(first, first.tracks[3])]: 100, "of another page": 1 };
assert.deepStrictEqual(meanRatings().map((row) => [row.name, row.n, row.mean]), [["good", 2, 70], ["clean (hidden reference)", 1, 100]]);
state.sorted = { by: "bad", falls: false };
const gains = shownItems().map((number) => data.items[number].scores.bad.gain.si_sdr_db);
assert(gains[0] <= gains[1]);

// Equal loudness: equal levels, nothing beyond full scale, silence left alone.
const loud = [{ level_db: -10, peak: 0.9 }, { level_db: -30, peak: 0.5 }, { level_db: null, peak: 0 }];
const volumes = equalVolumes(loud);
const levels = [0, 1].map((k) => loud[k].level_db + 20 * Math.log10(volumes[k]));
assert(Math.abs(levels[0] - levels[1]) < 1e-9);
assert(loud.every((track, k) => volumes[k] * track.peak <= 1 + 1e-9));
assert.deepStrictEqual(equalVolumes([{ level_db: -20, peak: 0.3 }, { level_db: -20, peak: 0.2 }]), [1, 1]);

// Talkers that are not in one order cannot be rated blindly, and no system is named there.
const held = data.items[0].in_order;
data.items[0].in_order = false;
state.blind = true;
assert.deepStrictEqual(rowsOf(0).map((row) => row.name), ["recording", "clean"]);
data.items[0].in_order = held;
