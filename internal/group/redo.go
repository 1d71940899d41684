package group

import "slices"

// A Blame is why members that were run as one must run again: the place of the one that is to blame, or one of the values below.
type Blame int

const (
	// Over says that they need not: each has its outcome, or its runner knows what is to become of it.
	Over Blame = -1
	// AnyOf says that any of them may be to blame.
	AnyOf Blame = -2
)

// maxRedo is how many times members run again for a culprit's sake. After that the rest runs one by one: each time costs what
// had been executed so far.
const maxRedo = 3

// Redo runs members as one, and again without the culprit where there is one. A culprit runs alone, and so does each member once
// any of them may be to blame or there have been too many culprits.
//
//	a b C d e → in order:  run(a b), alone(C), run(d e)
//	            otherwise: alone(C), run(a b d e)
//
// Whatever run has done must be undone when it blames a member. Redo returns how many times that was.
func Redo[T any](members []T, inOrder bool, run func([]T) Blame, alone func(T)) (reruns int) {
	redo(members, inOrder, run, alone, &reruns)
	return reruns
}

func redo[T any](members []T, inOrder bool, run func([]T) Blame, alone func(T), reruns *int) {
	if len(members) == 0 {
		return
	}
	culprit := run(members)
	if culprit == Over {
		return
	}
	*reruns++
	if culprit == AnyOf || *reruns > maxRedo {
		for _, m := range members {
			alone(m)
		}
		return
	}
	before, after := members[:culprit], members[culprit+1:]
	if inOrder {
		redo(before, inOrder, run, alone, reruns)
		alone(members[culprit])
		redo(after, inOrder, run, alone, reruns)
		return
	}
	alone(members[culprit])
	redo(slices.Concat(before, after), inOrder, run, alone, reruns)
}
