/** Parsing DICOM without trusting it, and the values of a header by the names of its attributes. */

import dicomParser, { type DataSet, type Element } from "dicom-parser";

/** Attributes that are used, by keyword. */
const TAGS = {
  SpecificCharacterSet: "x00080005", ImageType: "x00080008", SOPClassUID: "x00080016",
  SOPInstanceUID: "x00080018", StudyDate: "x00080020", SeriesDate: "x00080021",
  AcquisitionDate: "x00080022", AcquisitionDateTime: "x0008002a", StudyTime: "x00080030",
  SeriesTime: "x00080031", AcquisitionTime: "x00080032", TimezoneOffsetFromUTC: "x00080201",
  SeriesDescription: "x0008103e", ComplexImageComponent: "x00089208", FrameType: "x00089007",
  MediaStorageSOPClassUID: "x00020002", TransferSyntaxUID: "x00020010",
  PatientName: "x00100010", PatientID: "x00100020",
  ContrastBolusAgent: "x00180010", ContrastBolusAgentSequence: "x00180012", SequenceName: "x00180024",
  SliceThickness: "x00180050", EchoTime: "x00180081", InversionTime: "x00180082",
  SpacingBetweenSlices: "x00180088", ProtocolName: "x00181030", TriggerTime: "x00181060",
  CardiacNumberOfImages: "x00181090", PulseSequenceName: "x00189005",
  FrameReferenceDateTime: "x00189151", FrameAcquisitionDateTime: "x00189074",
  EffectiveEchoTime: "x00189082", InversionTimes: "x00189079",
  StudyInstanceUID: "x0020000d", SeriesInstanceUID: "x0020000e", SeriesNumber: "x00200011",
  AcquisitionNumber: "x00200012", InstanceNumber: "x00200013", PatientOrientation: "x00200020", ImagePositionPatient: "x00200032",
  ImageOrientationPatient: "x00200037", FrameOfReferenceUID: "x00200052",
  TemporalPositionIdentifier: "x00200100", SliceLocation: "x00201041",
  FrameAcquisitionNumber: "x00209156", TemporalPositionIndex: "x00209128",
  NominalCardiacTriggerDelayTime: "x00209153",
  SamplesPerPixel: "x00280002", PhotometricInterpretation: "x00280004", NumberOfFrames: "x00280008",
  Rows: "x00280010", Columns: "x00280011", PixelSpacing: "x00280030", PixelAspectRatio: "x00280034",
  BitsAllocated: "x00280100", BitsStored: "x00280101", HighBit: "x00280102",
  PixelRepresentation: "x00280103", PixelPaddingValue: "x00280120", PixelPaddingRangeLimit: "x00280121",
  RescaleIntercept: "x00281052", RescaleSlope: "x00281053", LossyImageCompression: "x00282110",
  ModalityLUTSequence: "x00283000", PixelData: "x7fe00010",
  SharedFunctionalGroupsSequence: "x52009229", PerFrameFunctionalGroupsSequence: "x52009230",
  WaveformSequence: "x54000100", MultiplexGroupTimeOffset: "x00181068",
  NumberOfWaveformChannels: "x003a0005", NumberOfWaveformSamples: "x003a0010",
  SamplingFrequency: "x003a001a", MultiplexGroupLabel: "x003a0020", ChannelDefinitionSequence: "x003a0200",
  ChannelLabel: "x003a0203", ChannelSourceSequence: "x003a0208", ChannelSensitivity: "x003a0210",
  ChannelSensitivityUnitsSequence: "x003a0211", ChannelSensitivityCorrectionFactor: "x003a0212",
  ChannelBaseline: "x003a0213", ChannelTimeSkew: "x003a0214", ChannelSampleSkew: "x003a0215",
  ChannelOffset: "x003a0218", WaveformBitsStored: "x003a021a",
  WaveformBitsAllocated: "x54001004", WaveformSampleInterpretation: "x54001006",
  WaveformPaddingValue: "x5400100a", WaveformData: "x54001010",
  CodeValue: "x00080100", CodingSchemeDesignator: "x00080102", CodeMeaning: "x00080104",
} as const;
export type Keyword = keyof typeof TAGS;

/** Kind of value where the file does not say (implicit VR). */
const BINARY: Partial<Record<Keyword, string>> = {
  SamplesPerPixel: "US", Rows: "US", Columns: "US", BitsAllocated: "US", BitsStored: "US", HighBit: "US",
  PixelRepresentation: "US", PixelPaddingValue: "US", PixelPaddingRangeLimit: "US",
  EffectiveEchoTime: "FD", InversionTimes: "FD", FrameAcquisitionNumber: "US", TemporalPositionIndex: "UL",
  NominalCardiacTriggerDelayTime: "FD", NumberOfWaveformChannels: "US", NumberOfWaveformSamples: "UL",
  WaveformBitsAllocated: "US", WaveformBitsStored: "US",
};
const READERS: Record<string, [number, "uint16" | "int16" | "uint32" | "int32" | "float" | "double"]> = {
  US: [2, "uint16"], SS: [2, "int16"], UL: [4, "uint32"], SL: [4, "int32"], FL: [4, "float"], FD: [8, "double"],
};
const BINARY_BY_TAG = new Map(Object.entries(BINARY).map(([keyword, vr]) => [TAGS[keyword as Keyword] as string, vr]));
const readerOf = (element: Element): (typeof READERS)[string] | undefined =>
  READERS[element.vr ?? BINARY_BY_TAG.get(element.tag) ?? ""];
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const DEFLATED = "1.2.840.10008.1.2.1.99";

export class DeflatedError extends Error {}

/** Parse a file; throws anything on damage. `salvage` of what was thrown gives what was read. */
export function parse(bytes: Uint8Array): Header {
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, 4096));
  if (hasPreamble(bytes) && head.includes(DEFLATED)) throw new DeflatedError("compressed as a whole");
  return new Header(dicomParser.parseDicom(bytes));
}

/** Part that could be read of a file whose parsing threw `error`. */
export function salvage(error: unknown): Header | null {
  const found = (error as { dataSet?: DataSet } | null)?.dataSet;
  return found?.elements ? new Header(found) : null;
}

export const hasPreamble = (bytes: Uint8Array): boolean =>
  String.fromCharCode(...bytes.subarray(128, 132)) === "DICM";

interface Place { set: DataSet; element: Element }

/** A header, with values of functional groups laid over those of its object. */
export class Header {
  constructor(readonly set: DataSet, private readonly over?: Map<string, Place>, private readonly hidden?: Set<string>) {}

  place(keyword: Keyword): Place | null {
    const tag = TAGS[keyword];
    const laid = this.over?.get(tag);
    if (laid) return laid;
    const element = this.hidden?.has(tag) ? undefined : this.set.elements[tag];
    return element ? { set: this.set, element } : null;
  }

  has(keyword: Keyword): boolean {
    return this.place(keyword) !== null;
  }

  /** Stripped text, several values joined by a backslash; "" if absent. */
  text(keyword: Keyword): string {
    const place = this.place(keyword);
    if (!place || place.element.items) return "";
    const binary = readerOf(place.element);
    if (binary) return (this.values(keyword) ?? []).join("\\");
    const { dataOffset, length } = place.element;
    const bytes = place.set.byteArray.subarray(dataOffset, dataOffset + length);
    return decodeText(bytes, this.characterSet())
      .split("\\").map((part) => part.replace(/^[\s\0]+|[\s\0]+$/g, "")).join("\\");
  }

  /** Term of the character set of this header; "" where it has none. */
  characterSet(): string {
    return this.set.string?.("x00080005") ?? "";
  }

  private values(keyword: Keyword): number[] | null {
    const place = this.place(keyword);
    if (!place || place.element.items) return null;
    const binary = readerOf(place.element);
    if (!binary) {
      const parts = this.text(keyword).split("\\");
      return parts.every((part) => NUMBER.test(part)) ? parts.map(Number) : null;
    }
    const [size, read] = binary;
    const count = Math.floor(place.element.length / size);
    return Array.from({ length: count }, (_, i) => place.set[read](place.element.tag, i) ?? NaN);
  }

  /** Exactly `count` finite numbers; null when it has anything else. */
  numbers(keyword: Keyword, count: number): number[] | null {
    const found = this.values(keyword);
    return found && found.length === count && found.every(Number.isFinite) ? found : null;
  }

  number(keyword: Keyword): number | null {
    return this.numbers(keyword, 1)?.[0] ?? null;
  }

  /** First of several numbers. */
  first(keyword: Keyword): number | null {
    const found = this.values(keyword)?.[0];
    return found !== undefined && Number.isFinite(found) ? found : null;
  }

  items(keyword: Keyword): Header[] {
    const place = this.place(keyword);
    return (place?.element.items ?? []).flatMap((item) => (item.dataSet ? [new Header(item.dataSet)] : []));
  }

  /** Items of a sequence of this header alone, by its tag. */
  itemsAt(tag: string): Header[] {
    return (this.set.elements[tag]?.items ?? []).flatMap((item) => (item.dataSet ? [new Header(item.dataSet)] : []));
  }

  /** Bytes of a value; null where it is none: absent, a sequence, or compressed. */
  raw(keyword: Keyword): Uint8Array | null {
    const place = this.place(keyword);
    if (!place || place.element.items || place.element.fragments) return null;
    return place.set.byteArray.subarray(place.element.dataOffset, place.element.dataOffset + place.element.length);
  }

  /** This header with other elements laid over it, and some of its own hidden. */
  under(over: Map<string, Place>, hidden: Set<string>): Header {
    return new Header(this.set, over, hidden);
  }

  get transferSyntax(): string {
    return this.set.string("x00020010") ?? "";
  }
}

export const tagOf = (keyword: Keyword): string => TAGS[keyword];

const ENCODINGS: Record<string, string> = {
  "ISO_IR 100": "latin1", "ISO_IR 101": "iso-8859-2", "ISO_IR 109": "iso-8859-3", "ISO_IR 110": "iso-8859-4",
  "ISO_IR 144": "iso-8859-5", "ISO_IR 127": "iso-8859-6", "ISO_IR 126": "iso-8859-7", "ISO_IR 138": "iso-8859-8",
  "ISO_IR 148": "windows-1254", "ISO_IR 13": "shift_jis", "ISO_IR 166": "windows-874", "ISO_IR 192": "utf-8",
  GB18030: "gb18030", GBK: "gbk", "ISO 2022 IR 87": "iso-2022-jp", "ISO 2022 IR 13": "shift_jis",
  "ISO 2022 IR 149": "euc-kr", "ISO 2022 IR 58": "gb18030", "ISO 2022 IR 100": "latin1",
};

/** Encoding that a SpecificCharacterSet names; null where it names none. */
export function encodingOf(term: string): string | null {
  const terms = term.split("\\").map((part) => part.replace(/[\s\0]+$/, "").trim());
  return terms.map((part) => ENCODINGS[part]).filter(Boolean).at(-1) ??
    (terms.includes("ISO_IR 6") ? "latin1" : null);
}

export function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

function decodeText(bytes: Uint8Array, term: string): string {
  if (!bytes.some((byte) => byte > 127 || byte === 27)) return new TextDecoder("latin1").decode(bytes);
  return new TextDecoder(encodingOf(term) ?? (isUtf8(bytes) ? "utf-8" : "latin1")).decode(bytes);
}
