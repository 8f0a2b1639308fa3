import ControlProtocol
import Telemetry

/// What the main thread asks of the workers. `Fleet` is the real one; all calls come from the main thread.
protocol FleetControl: AnyObject {
  /// Loads the image (regular expressions, certificates, endpoints of `changes` in place of the image's own),
  /// opens the listening sockets that are new and gives the configuration to every worker. On an error
  /// everything stays as it was. A socket that cannot be bound is no error: it is in the answer.
  func publish(_ image: MappedImage, changes: [EndpointUpdate.Backend]) throws(LoadError) -> Publication

  /// Lowest over the workers.
  var adoptedSequence: UInt64 { get }
  /// An eventfd, readable when a worker adopted or let go of a configuration. The main thread reads it empty.
  var adoptionEventDescriptor: Int32 { get }
  /// After that: frees what no worker uses any more.
  func collectRetired()

  /// Whether `handOver` would find a listener on `port`.
  func hasListener(port: UInt16) -> Bool
  /// Gives a connected stream socket to a worker as a client connection of the listener on `port` (the
  /// port that the Gateway names). True: the descriptor is the fleet's now; false: no such listener.
  func handOver(_ descriptor: Int32, port: UInt16) -> Bool

  /// Nothing new is taken; what is open ends by itself or is closed after so many milliseconds.
  func beginDrain(milliseconds: Int)
  var isDrained: Bool { get }

  /// One a worker.
  var counters: [CounterBlock] { get }
}

/// A configuration on its way to the workers.
struct Publication {
  /// `adoptedSequence` reaches it when every worker serves it.
  var sequence: UInt64
  /// What became of each socket of the image.
  var sockets: [SocketStatus]
}

/// Why an image that is whole could not be used: a regular expression, a certificate.
struct LoadError: Error, Equatable, CustomStringConvertible {
  /// For a person; names the piece of the image.
  let reason: String
  var description: String { reason }
}
