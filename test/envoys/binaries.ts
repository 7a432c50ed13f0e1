/** Three numbers, as the registry and `/server_info` write them. */
const VERSION = /^\d+\.\d+\.\d+$/

/**
 * Every Envoy that `deploy/setup/versions` names: its version, and the binary that setup puts under the project's folder.
 * Throws where there is none to be found, since a suite that runs against nothing passes.
 */
export function binariesOf(versions: string): [version: string, path: string][] {
  const others = named(versions, 'ENVOYS')
  const [main = '', ...more] = named(versions, 'ENVOY')
  if (more.length > 0) throw unreadable('ENVOY')
  const all = [...others, main]
  const twice = all.find((version, place) => all.indexOf(version) !== place)
  if (twice !== undefined) throw new Error(`deploy/setup/versions: Envoy ${twice} is named twice`)
  return [
    ...others.map((version): [string, string] => [version, `.tools/envoys/${version}/envoy`]),
    [main, '.tools/bin/envoy'],
  ]
}

function named(versions: string, name: string): string[] {
  const [, , text = ''] = new RegExp(`^${name}=('?)([^'#\\n]*)\\1`, 'm').exec(versions) ?? []
  const found = text.split(/\s+/).filter(Boolean)
  if (found.length === 0 || !found.every(version => VERSION.test(version))) throw unreadable(name)
  return found
}

function unreadable(name: string): Error {
  const wanted = name === 'ENVOYS' ? 'versions such as 1.36.4' : 'one version such as 1.40.0'
  return new Error(`deploy/setup/versions: ${name} does not name ${wanted}, so there is no Envoy to test`)
}
