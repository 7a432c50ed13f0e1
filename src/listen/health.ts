import type { Server } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { AUTHORIZATION } from './ext-authz.ts'

/**
 * `grpc.health.v1`: of the whole server (the empty name) and of Authorization; both NOT_SERVING until told
 * otherwise.
 */
export function addHealth(server: Server): { serving(is: boolean): void } {
  const names = ['', AUTHORIZATION]
  const health = new HealthImplementation(Object.fromEntries(names.map(name => [name, 'NOT_SERVING'])))
  health.addToServer(server)
  let told = false
  return {
    serving(is) {
      // Every status that is set goes to every Watch, also the one that it has.
      if (is === told) return
      told = is
      for (const name of names) health.setStatus(name, is ? 'SERVING' : 'NOT_SERVING')
    },
  }
}
