// What a browser has, as little as the script of a page needs; the test puts the data after it.
const made = {};
function node() {
  return new Proxy({ children: [], attributes: {}, style: {}, textContent: "", value: "", checked: false }, {
    get(own, name) {
      if (name in own) return own[name];
      if (name === "append" || name === "replaceChildren") return (...more) => { own.children = more; };
      if (name === "getContext") return () => ({ createImageData: (w, h) => ({ data: new Uint8ClampedArray(4 * w * h) }),
        putImageData() {} });
      return () => undefined;
    },
  });
}
const kept_ = {};
globalThis.localStorage = { getItem: (key) => kept_[key] ?? null, setItem(key, text) { kept_[key] = text; } };
globalThis.document = { getElementById: (id) => (made[id] ||= node()), createElement: node,
  querySelectorAll: () => [], querySelector: () => null, addEventListener() {}, activeElement: node() };
globalThis.requestAnimationFrame = () => undefined;
globalThis.OfflineAudioContext = class { decodeAudioData(bytes) {
  const wave = new Float32Array(1024).map((_, t) => Math.sin(2 * Math.PI * 64 * t / 512));
  return Promise.resolve({ length: 1024, duration: 1, sampleRate: 1024, numberOfChannels: 1, getChannelData: () => wave }); } };
made.data = node();
