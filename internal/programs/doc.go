// Package programs is what real programs do with a database, through the libraries that they use: GORM, bun, ent, code as sqlc
// generates it, goqite and river. The tests run each on the plain driver and on the swapped one and compare; the benchmark
// measures the same code. It is a module of its own, so that programs that use groupcommit do not get its dependencies.
//
//	go test ./internal/programs                    a fixed seed, some seconds
//	go test ./internal/programs -programs.seed=7   other programs
package programs
