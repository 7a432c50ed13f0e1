import { once } from 'node:events'
import { expect, it } from 'vitest'
import { connection, frame, started } from './servers.ts'

it.each([
  [true, ['envoy.service.auth.v3.Authorization', 'grpc.health.v1.Health']],
  [false, undefined],
])('reflection %s tells the services: %s', async (reflection, services) => {
  const { address } = await started({ reflection })
  expect(await listed(address)).toEqual(services)
})

/** The services that grpc.reflection.v1 lists; undefined where there is none. */
async function listed(address: string): Promise<string[] | undefined> {
  const stream = connection(`http://${address}`).request({
    ':method': 'POST',
    ':path': '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  stream.end(frame(Buffer.from([0x3a, 0x00])))
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(stream, 'close')
  const names = Buffer.concat(chunks)
    .toString('latin1')
    .match(/[a-z][\w.]+\.[A-Z]\w+/g)
  return names?.toSorted()
}
