/// How long a child that ended waits before it is started again: the delay doubles with every end and falls
/// back to the first one after a run that lasted.
struct RestartPolicy: Equatable {
  static let firstDelay: Duration = .milliseconds(200)
  static let longestDelay: Duration = .seconds(10)
  /// A run of this length counts as healthy.
  static let healthyAfter: Duration = .seconds(30)

  private var nextDelay = RestartPolicy.firstDelay

  /// Notes an end after a run of `ranFor` and answers how long to wait.
  mutating func ended(ranFor: Duration) -> Duration {
    if ranFor >= Self.healthyAfter { nextDelay = Self.firstDelay }
    let delay = nextDelay
    nextDelay = min(nextDelay * 2, Self.longestDelay)
    return delay
  }
}
