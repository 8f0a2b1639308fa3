import RoutingTable

/// Proves everything that the reader relies on; any bytes are allowed.
func verifyImage(_ image: UnsafeRawBufferPointer) throws(ImageRefusal) {
  do throws(ImageError) {
    try unsafe verify(image)
  } catch {
    throw ImageRefusal(reason: error.description)
  }
}
