// Package lru keeps the values that were used last.
package lru

import "container/list"

// Cache maps strings to values and holds at most a fixed number of them. It is not safe for concurrent use.
type Cache[V any] struct {
	max   int
	drop  func(V)
	order *list.List // of *entry[V], the latest first
	byKey map[string]*list.Element
}

type entry[V any] struct {
	key   string
	value V
}

// New returns a cache of at most max values; max is at least 1. The cache calls drop for each value that it drops; drop may
// be nil.
func New[V any](max int, drop func(V)) *Cache[V] {
	if drop == nil {
		drop = func(V) {}
	}
	return &Cache[V]{max: max, drop: drop, order: list.New(), byKey: make(map[string]*list.Element)}
}

// Get returns the value of key and makes it the latest.
func (c *Cache[V]) Get(key string) (V, bool) {
	e, ok := c.byKey[key]
	if !ok {
		var none V
		return none, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry[V]).value, true
}

// Take removes the value of key and returns it. The value is the caller's, and is not dropped.
func (c *Cache[V]) Take(key string) (V, bool) {
	e, ok := c.byKey[key]
	if !ok {
		var none V
		return none, false
	}
	delete(c.byKey, key)
	return c.order.Remove(e).(*entry[V]).value, true
}

// Put makes v the value of key and the latest. It drops an earlier value of key.
func (c *Cache[V]) Put(key string, v V) {
	if old, ok := c.Take(key); ok {
		c.drop(old)
	}
	c.byKey[key] = c.order.PushFront(&entry[V]{key, v})
	if c.order.Len() > c.max {
		oldest := c.order.Back().Value.(*entry[V])
		c.Take(oldest.key)
		c.drop(oldest.value)
	}
}

// DropIf drops the values of the keys that out reports.
func (c *Cache[V]) DropIf(out func(key string) bool) {
	for key := range c.byKey {
		if out(key) {
			v, _ := c.Take(key)
			c.drop(v)
		}
	}
}

// Clear drops all values.
func (c *Cache[V]) Clear() {
	for e := c.order.Front(); e != nil; e = e.Next() {
		c.drop(e.Value.(*entry[V]).value)
	}
	c.order.Init()
	clear(c.byKey)
}

// Len is the number of values held.
func (c *Cache[V]) Len() int { return c.order.Len() }
