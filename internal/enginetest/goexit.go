package enginetest

import "runtime"

func goexit() { runtime.Goexit() }
