// Package packaging holds what makes Debian packages of the programs: build.sh, the nfpm files, the units and
// the maintainer scripts. The Go package itself is empty; its tests build the packages and install them on
// a device of the lab.
//
// Guarantees: the same source, version and SOURCE_DATE_EPOCH give the same bytes; a maintainer script never
// restarts the agent inside a transaction, and removing the server's package never removes its ledger or keys.
package packaging
