/** Stands in for the codecs of Zarr stores, which the page never opens. */
export default class NoCodec {
  static fromConfig(): never {
    throw new Error("Zarr stores are not read here");
  }
}
