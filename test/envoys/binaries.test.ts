import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { binariesOf } from './binaries.ts'

const VERSIONS = join(import.meta.dirname, '../../deploy/setup/versions')

it('every version that setup fetches is run against, and this is one of them', () => {
  const versions = binariesOf(readFileSync(VERSIONS, 'utf8')).map(([version]) => version)
  expect(versions.length).toBeGreaterThan(1)
  expect(versions).toContain(process.env.ENVOY_VERSION)
})

it('each has its binary', () => {
  expect(binariesOf("NPM=1\nENVOY=1.40.0\nENVOYS='1.36.4 1.37.0' # others\nOPA=2\n")).toEqual([
    ['1.36.4', '.tools/envoys/1.36.4/envoy'],
    ['1.37.0', '.tools/envoys/1.37.0/envoy'],
    ['1.40.0', '.tools/bin/envoy'],
  ])
})

const NO_OTHERS =
  'deploy/setup/versions: ENVOYS does not name versions such as 1.36.4, so there is no Envoy to test'
const NO_MAIN =
  'deploy/setup/versions: ENVOY does not name one version such as 1.40.0, so there is no Envoy to test'

it.each([
  ['the file is empty', '', NO_OTHERS],
  ['ENVOYS is empty', "ENVOY=1.40.0\nENVOYS=''\n", NO_OTHERS],
  ['ENVOYS holds only a remark', 'ENVOY=1.40.0\nENVOYS= # 1.36.4\n', NO_OTHERS],
  ['ENVOYS has another name', "ENVOY=1.40.0\nOTHER_ENVOYS='1.36.4'\n", NO_OTHERS],
  ['ENVOYS is quoted in another way', 'ENVOY=1.40.0\nENVOYS="1.36.4"\n', NO_OTHERS],
  ['one of ENVOYS is no version', "ENVOY=1.40.0\nENVOYS='1.36.4 latest'\n", NO_OTHERS],
  ['there is no ENVOY', "ENVOYS='1.36.4'\n", NO_MAIN],
  ['ENVOY is empty', "ENVOY=\nENVOYS='1.36.4'\n", NO_MAIN],
  ['ENVOY is no version', "ENVOY=v1.40\nENVOYS='1.36.4'\n", NO_MAIN],
  ['ENVOY is two', "ENVOY='1.40.0 1.39.0'\nENVOYS='1.36.4'\n", NO_MAIN],
  [
    'one is named twice',
    "ENVOY=1.40.0\nENVOYS='1.36.4 1.40.0'\n",
    'deploy/setup/versions: Envoy 1.40.0 is named twice',
  ],
])('nothing is run where %s', (_, versions, message) => {
  expect(() => binariesOf(versions)).toThrow(new Error(message))
})
