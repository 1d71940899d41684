package behind

// Len is how many are remembered, gone or not.
func (m *Memory[V]) Len() (n int) {
	m.m.Range(func(any, any) bool { n++; return true })
	return n
}
