import type { Server } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { AUTHORIZATION } from './ext-authz.ts'

/** `grpc.health.v1`: of the whole server (the empty name) and of Authorization; both NOT_SERVING until told otherwise. */
export function addHealth(server: Server): { serving(is: boolean): void } {
  const names = ['', AUTHORIZATION]
  const health = new HealthImplementation(Object.fromEntries(names.map(name => [name, 'NOT_SERVING'])))
  health.addToServer(server)
  return {
    serving(is) {
      for (const name of names) health.setStatus(name, is ? 'SERVING' : 'NOT_SERVING')
    },
  }
}
