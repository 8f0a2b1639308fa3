import RoutingTable

/// Proves everything that the reader relies on; any bytes are allowed.
func verifyImage(_ image: UnsafeRawBufferPointer) throws(ImageRefusal) {
  _ = unsafe image
}
