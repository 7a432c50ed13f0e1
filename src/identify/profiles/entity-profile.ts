import type { Json } from '../../types.ts'

/** OAuth entity profiles (draft): kinds of what a token names, such as `user` or `ai_agent`, space-separated. */
export function saysNoUser(profile: Json | undefined): boolean {
  return profile !== undefined && !(typeof profile === 'string' && profile.split(' ').includes('user'))
}
