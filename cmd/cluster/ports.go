package cluster

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/millrace/millrace/schemas"
)

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts gives n ports that nobody listens on, all different.
func freePorts(n int) ([]int, error) {
	var out []int
	var held []net.Listener
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", loopback(0))
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		held = append(held, l)
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}

// takePorts gives n ports: from first on, or any free ones if first is 0.
func takePorts(first, n int) ([]int, error) {
	if first == 0 {
		return freePorts(n)
	}
	if first+n > 1<<16 {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("from port %d on there are no %d ports", first, n), Hint: "name a lower one"}
	}
	var out []int
	for i := range n {
		out = append(out, first+i)
	}
	return out, nil
}

// free says whether a process can listen on a port.
func free(name string, port int) error {
	l, err := net.Listen("tcp", loopback(port))
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("port %d, which %s would listen on, is taken", port, name),
			Hint: fmt.Sprintf("stop what listens there (`ss -ltnp 'sport = :%d'` names it), or choose other ports", port)}
	}
	return fmt.Errorf("try port %d: %w", port, err)
}
