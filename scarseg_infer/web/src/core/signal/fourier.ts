/** Discrete Fourier transforms of any length: Bluestein's way onto lengths that are powers of two. */

import FFT from "fft.js";

/** Real and imaginary parts. */
export interface Spectrum {
  re: Float64Array;
  im: Float64Array;
}

class Transform {
  private readonly size: number;
  private readonly fft: FFT;
  private readonly cos: Float64Array;
  private readonly sin: Float64Array;
  private readonly kernel: Float64Array;

  constructor(readonly length: number) {
    let size = 2;
    while (size < 2 * length - 1) size *= 2;
    this.size = size;
    this.fft = new FFT(size);
    this.cos = new Float64Array(length);
    this.sin = new Float64Array(length);
    for (let i = 0, square = 0; i < length; i++) {
      this.cos[i] = Math.cos((Math.PI * square) / length);
      this.sin[i] = Math.sin((Math.PI * square) / length);
      square = (square + 2 * i + 1) % (2 * length); // i² modulo the period, without overflow
    }
    const chirp = new Float64Array(2 * size);
    for (let i = 0; i < length; i++) {
      for (const at of i ? [i, size - i] : [0]) {
        chirp[2 * at] = this.cos[i]!;
        chirp[2 * at + 1] = this.sin[i]!;
      }
    }
    this.kernel = new Float64Array(2 * size);
    this.fft.transform(this.kernel, chirp);
  }

  /** Sum of x[k] exp(−2πi jk / n). */
  forward(re: Float64Array, im: Float64Array): Spectrum {
    const { length, fft, cos, sin, kernel, size } = this;
    const [data, wide] = scratchOf(size);
    data.fill(0, 2 * length);
    for (let i = 0; i < length; i++) {
      data[2 * i] = re[i]! * cos[i]! + im[i]! * sin[i]!;
      data[2 * i + 1] = im[i]! * cos[i]! - re[i]! * sin[i]!;
    }
    fft.transform(wide, data);
    for (let i = 0; i < size; i++) {
      const a = wide[2 * i]!, b = wide[2 * i + 1]!, c = kernel[2 * i]!, d = kernel[2 * i + 1]!;
      wide[2 * i] = a * c - b * d;
      wide[2 * i + 1] = a * d + b * c;
    }
    fft.inverseTransform(data, wide);
    const found = { re: new Float64Array(length), im: new Float64Array(length) };
    for (let i = 0; i < length; i++) {
      const a = data[2 * i]!, b = data[2 * i + 1]!;
      found.re[i] = a * cos[i]! + b * sin[i]!;
      found.im[i] = b * cos[i]! - a * sin[i]!;
    }
    return found;
  }
}

/** Two arrays for complex numbers, the same each time while the size is: they are large. */
let scratch: [Float64Array, Float64Array] = [new Float64Array(0), new Float64Array(0)];

function scratchOf(size: number): [Float64Array, Float64Array] {
  if (scratch[0].length !== 2 * size) scratch = [new Float64Array(2 * size), new Float64Array(2 * size)];
  return scratch;
}

const transforms = new Map<number, Transform>();

function transformOf(length: number): Transform {
  let found = transforms.get(length);
  if (!found) {
    if (transforms.size > 8) transforms.clear();
    transforms.set(length, (found = new Transform(length)));
  }
  return found;
}

/** Spectrum of a real signal: floor(n / 2) + 1 values. */
export function realSpectrum(signal: Float64Array): Spectrum {
  const length = signal.length;
  const whole = transformOf(length).forward(signal, new Float64Array(length));
  const half = Math.floor(length / 2) + 1;
  return { re: whole.re.slice(0, half), im: whole.im.slice(0, half) };
}

/** Real signal of `length` whose spectrum begins so; missing frequencies are 0. */
export function fromSpectrum(spectrum: Spectrum, length: number): Float64Array {
  const re = new Float64Array(length);
  const im = new Float64Array(length);
  const half = Math.floor(length / 2) + 1;
  for (let i = 0; i < Math.min(half, spectrum.re.length); i++) {
    const mirror = (length - i) % length;
    const alone = mirror === i; // frequency 0 and the highest of an even length are real
    re[i] = spectrum.re[i]!;
    im[i] = alone ? 0 : -spectrum.im[i]!; // conjugated, so that a forward transform inverts
    if (!alone) {
      re[mirror] = spectrum.re[i]!;
      im[mirror] = spectrum.im[i]!;
    }
  }
  const found = transformOf(length).forward(re, im).re;
  for (let i = 0; i < length; i++) found[i]! /= length;
  return found;
}
