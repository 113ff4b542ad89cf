package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	// pullPatience is how long a pull may make no progress.
	pullPatience = 10 * time.Minute
	// pullNews is how often the log tells of a long pull.
	pullNews = 30 * time.Second
	// dockerHub is the registry of images whose names have none.
	dockerHub = "docker.io"
)

// Pull brings images that the node does not have yet, one after the other.
func (e *Engine) Pull(ctx context.Context, images []string, registries []*apiv1.ContainerRegistryReference) error {
	for _, name := range images {
		image, err := normalImage(name)
		if err != nil {
			return err
		}
		api, _, err := e.open()
		if err != nil {
			return err
		}
		if err := e.pull(ctx, api, image, "", nil, registries); err != nil {
			return err
		}
	}
	return nil
}

// normalImage writes an image's name in full, with the tag latest where it has none.
func normalImage(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", invalidImage("%q is not the name of an image: %v", name, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

// pull brings an image: unless it is there already, always or never.
func (e *Engine) pull(ctx context.Context, api *client.Client, image, when string, platform *ocispec.Platform, registries []*apiv1.ContainerRegistryReference) error {
	if when != "always" {
		_, err := api.ImageInspect(ctx, image)
		switch {
		case err == nil:
			return nil
		case !errdefs.IsNotFound(err):
			return pullError(ctx, image, err)
		case when == "never":
			return invalidImage("The image %s is not on the node, and is not to be pulled.", image)
		}
	}
	options := client.ImagePullOptions{}
	if platform != nil {
		options.Platforms = []ocispec.Platform{*platform}
	}
	var err error
	if options.RegistryAuth, err = credentialsFor(image, registries); err != nil {
		return err
	}
	e.cfg.Log.Info("pulling an image", "image", image)
	begun := time.Now()
	if err := e.follow(ctx, api, image, options); err != nil {
		return pullError(ctx, image, err)
	}
	e.cfg.Log.Info("image pulled", "image", image, "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

var errStalled = fmt.Errorf("the pull has made no progress for %v", pullPatience)

// follow pulls and reads what the engine says of it, so that a pull that stands still ends.
func (e *Engine) follow(ctx context.Context, api *client.Client, image string, options client.ImagePullOptions) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(pullPatience, func() { cancel(errStalled) })
	defer stalled.Stop()
	response, err := api.ImagePull(ctx, image, options)
	if err != nil {
		return orStalled(ctx, err)
	}
	defer response.Close()
	told := time.Now()
	for message, err := range response.JSONMessages(ctx) {
		if err != nil {
			return orStalled(ctx, err)
		}
		if message.Error != nil {
			return message.Error
		}
		stalled.Reset(pullPatience)
		if p := message.Progress; p != nil && time.Since(told) > pullNews {
			told = time.Now()
			e.cfg.Log.Info("pulling an image", "image", image, "layer", message.ID, "status", message.Status, "bytes", p.Current, "of", p.Total)
		}
	}
	return orStalled(ctx, ctx.Err())
}

func orStalled(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// pullError says whose fault it is that an image can't be had. Engines tell it by their messages only.
func pullError(ctx context.Context, image string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case client.IsErrConnectionFailed(err):
		return miscError("The node's container engine does not answer: %v", err)
	case has("unauthorized", "authentication required", "no basic auth credentials", "incorrect username or password", "access forbidden", "status 401", "status: 401"):
		return batcherr.New(batcherr.KindInvalid, batcherr.CodeContainerInvalidRegistry, "The registry of %s does not accept the credentials: %v", image, err)
	case has("no such host", "connection refused", "server gave http response", "certificate", "no route to host"):
		return batcherr.New(batcherr.KindInvalid, batcherr.CodeContainerInvalidRegistry, "The registry of %s can't be used: %v", image, err)
	case errdefs.IsNotFound(err), has("manifest unknown", "not found", "pull access denied", "no matching manifest", "name unknown", "invalid reference"):
		return invalidImage("The image %s can't be had: %v", image, err)
	}
	return miscError("The image %s can't be pulled: %v", image, err)
}

// credentialsFor finds those for an image's registry; empty: there are none.
func credentialsFor(image string, registries []*apiv1.ContainerRegistryReference) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", invalidImage("%q is not the name of an image: %v", image, err)
	}
	domain := reference.Domain(named)
	for _, r := range registries {
		if r.GetUsername() != "" && registryHost(r.GetRegistryServer()) == domain {
			return authconfig.Encode(registry.AuthConfig{Username: r.GetUsername(), Password: r.GetPassword(), ServerAddress: domain})
		}
	}
	return "", nil
}

// registryHost is the host of a registry as images' names have it.
func registryHost(server string) string {
	server = strings.ToLower(server)
	server = strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
	server, _, _ = strings.Cut(server, "/")
	switch server {
	case "", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return dockerHub
	}
	return server
}

// parsePlatform reads OS/ARCHITECTURE[/VARIANT]; nil for nothing.
func parsePlatform(text string) (*ocispec.Platform, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return nil, badSettings("--platform %q is not OS/ARCHITECTURE[/VARIANT].", text)
	}
	p := &ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

func invalidImage(format string, args ...any) error {
	return batcherr.New(batcherr.KindInvalid, batcherr.CodeContainerInvalidImage, format, args...)
}
