// Package agent is the node agent: it joins a cluster, keeps a session with its leader, and runs the attempts that it is given.
package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/batchyard/batchyard/agent/container"
)

// Config is everything that an agent is told from outside.
type Config struct {
	// DataDir is the agent's own directory, an absolute path: certificate, journal, the supervisor's state. Nobody else
	// may read it.
	DataDir string
	// NodeRoot is the directory under which tasks work, an absolute path.
	NodeRoot string
	// Coordinators are host:port addresses. Those that were learned before are used too.
	Coordinators []string
	// JoinToken lets the node into a cluster. It is needed until the node has a certificate.
	JoinToken string
	// SupervisorCommand runs a supervisor over the directory SupervisorDir(DataDir), by process.Serve.
	SupervisorCommand []string
	// StopTasksOnExit has Run stop all tasks and the supervisor when its context ends. Otherwise they go on, and the next agent
	// takes them over.
	StopTasksOnExit bool
	// OrphanTimeout ends the agent, and its tasks with it, when no coordinator could be reached for so long; 0: never.
	OrphanTimeout time.Duration
	// StopGrace is how long a task that is stopped may take to end by itself.
	StopGrace time.Duration
	// Heartbeat overrides the coordinator's interval; 0: it decides.
	Heartbeat time.Duration
	// CacheBytes bounds the content cache; 0: the default of package stage.
	CacheBytes int64
	// Address is told to others as the node's; empty: that of the interface towards the coordinators.
	Address string
	// LogFile is where whoever starts the agent keeps what it logs; empty: nobody does.
	LogFile string
	// TaskUsers gives each task a user of its own, or the pool's where it asks for that; the agent must run as root. Otherwise such tasks run as
	// the agent's user.
	TaskUsers bool
	// AdminTasks lets tasks run as root that ask for it, also where TaskUsers keeps the others from it.
	AdminTasks bool
	// ContainerEngine is unix:///path of a Docker-compatible engine's socket, container.None, or empty: whichever of the usual sockets there is.
	ContainerEngine string
	// ContainerHostAccess lets tasks' container run options reach the machine: privileges, devices, any path.
	ContainerHostAccess bool
	// ContainerCommand runs a container, by container.Run; what is given to it is added.
	ContainerCommand []string
	// NoMounts keeps pools from mounting file systems on this node.
	NoMounts bool
	// LimitTasks holds each task to the share of the node's memory and processors that its slots are of the node's.
	LimitTasks bool
	Version    string
	Logger     *slog.Logger
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Default is a configuration that lacks only directories, coordinators and token.
func Default() Config {
	return Config{StopGrace: 5 * time.Second, Version: "dev", Logger: slog.Default(), Now: time.Now}
}

// SupervisorDir is the state directory of an agent's supervisor.
func SupervisorDir(dataDir string) string { return filepath.Join(dataDir, "supervisor") }

// Validate reports everything that keeps the configuration from being used.
func (c *Config) Validate() error {
	var errs []error
	if !filepath.IsAbs(c.DataDir) {
		errs = append(errs, fmt.Errorf("data directory %q is not an absolute path", c.DataDir))
	}
	if !filepath.IsAbs(c.NodeRoot) {
		errs = append(errs, fmt.Errorf("node root %q is not an absolute path", c.NodeRoot))
	}
	if filepath.Clean(c.NodeRoot) == filepath.Clean(c.DataDir) {
		errs = append(errs, errors.New("node root and data directory must differ: tasks work under the one and may not read the other"))
	}
	for _, address := range c.Coordinators {
		if _, _, err := net.SplitHostPort(address); err != nil {
			errs = append(errs, fmt.Errorf("coordinator address %q is not host:port: %w", address, err))
		}
	}
	if len(c.SupervisorCommand) == 0 {
		errs = append(errs, errors.New("no command for the supervisor"))
	}
	if err := container.CheckAddress(c.ContainerEngine); err != nil {
		errs = append(errs, err)
	}
	if c.OrphanTimeout < 0 || c.StopGrace < 0 || c.Heartbeat < 0 {
		errs = append(errs, errors.New("durations must not be negative"))
	}
	if c.Logger == nil {
		errs = append(errs, errors.New("no logger"))
	}
	return errors.Join(errs...)
}
