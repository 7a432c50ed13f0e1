import { join } from 'node:path'
import type { Server } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { ReflectionService } from '@grpc/reflection'
import { protoPath } from 'grpc-health-check'
import { AUTHORIZATION } from './ext-authz.ts'

/** `grpc.reflection.v1` and `v1alpha`: what this server speaks, for tools such as grpcurl. */
export function addReflection(server: Server): void {
  const includeDirs = [join(import.meta.dirname, '../../proto')]
  const loaded = loadSync(['envoy/service/auth/v3/external_auth.proto', protoPath], { includeDirs })
  new ReflectionService(loaded, { services: [AUTHORIZATION, 'grpc.health.v1.Health'] }).addToServer(server)
}
