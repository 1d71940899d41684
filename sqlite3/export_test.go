package sqlite3

import "github.com/groupcommit/groupcommit"

// Engine is what the package registers.
var Engine groupcommit.Engine = adapter{}

// Environment is the trait.
var Environment = environment

// IsForeign is what is said of a virtual table's text.
var IsForeign = isForeign

// UndoneIn is what is said of a COMMIT's error in a journal mode.
var UndoneIn = undoneIn
