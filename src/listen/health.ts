import type { Server, ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { AUTHORIZATION } from './ext-authz.ts'

export interface Health {
  serving(is: boolean): void
  /** Ends every Watch, which would otherwise hold its connection for as long as its client likes. */
  endWatches(): void
}

type Watch = ServerWritableStream<unknown, unknown>

/** `grpc.health.v1` of the whole server (the empty name) and of Authorization; at first both NOT_SERVING. */
export function addHealth(server: Server): Health {
  const names = ['', AUTHORIZATION]
  const health = new HealthImplementation(Object.fromEntries(names.map(name => [name, 'NOT_SERVING'])))
  const watches = new Set<Watch>()
  health.addToServer({
    addService(definition, implementation) {
      const whole = implementation as UntypedServiceImplementation
      const watch = whole.watch as (call: Watch) => void
      server.addService(definition, {
        ...whole,
        watch(call: Watch) {
          watches.add(call)
          call.once('cancelled', () => watches.delete(call))
          watch(call)
        },
      })
    },
  })
  let told = false
  return {
    serving(is) {
      // Every status that is set goes to every Watch, also the one that it has.
      if (is === told) return
      told = is
      for (const name of names) health.setStatus(name, is ? 'SERVING' : 'NOT_SERVING')
    },
    endWatches() {
      for (const call of watches) call.end()
    },
  }
}
