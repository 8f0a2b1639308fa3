import GatewayAPI
import YAML

/// Reading a text, decoding its objects, writing what was read as JSON and as YAML and reading that again.
func fuzzManifest(_ input: Input) -> Int32 {
  let manifest = Manifest(input.array, file: "fuzz.yaml")
  for diagnostic in manifest.diagnostics { check(!diagnostic.description.isEmpty, "an empty diagnostic") }
  for object in manifest.objects {
    let (resource, diagnostics) = decodeResource(object, file: "fuzz.yaml")
    check(resource != nil || !diagnostics.isEmpty, "no resource and no reason")
    if let resource { check(!resource.key.name.isEmpty || !diagnostics.isEmpty, "a resource without a name") }
    let json = JSON.bytes(object)
    guard case .success(let again) = JSON.parse(json) else {
      check(false, "written JSON cannot be read")
      continue
    }
    // A whole float reads back as an integer, so the text is compared and not the values.
    check(JSON.bytes(again) == json, "written JSON reads differently")
    let text = YAML.parse(YAML.write(object))
    check(!text.hasErrors && text.documents == [object], "written YAML reads differently")
  }
  return 0
}
