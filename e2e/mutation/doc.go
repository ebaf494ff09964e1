// Package mutation proves that the guards of Assent are tested: for each one it builds the program with
// that guard turned off and demands that a named test goes red. A guard whose test stays green without it
// is not guarded.
//
// The source tree is never touched: the mutated file is put over the real one with go's -overlay.
package mutation
