// Package e2e tests the whole of Assent from outside: the built programs, real devices with the real apt,
// the real CLI, real crashes. Its scripts read like the feature they prove. They need root and Debian's
// tools (scripts/setup.sh).
package e2e
