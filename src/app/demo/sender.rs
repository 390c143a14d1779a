//! Simulates the customer's sending system, which serves a list of sent messages over HTTP for the vendors
//! that cannot list messages themselves.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{Json, Router, routing::get};
use delivery_simulators::World;
use tokio::{net::TcpListener, task::JoinHandle};

use super::config::{NEWS_MESSAGES, SHOP_MESSAGES, entries};

/// The running server.
pub(super) struct Sender {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Sender {
    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the lists on a free port of this machine.
pub(super) async fn start(world: Arc<World>) -> io::Result<Sender> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let (shop, news) = (world.clone(), world);
    let routes = Router::new()
        .route(
            SHOP_MESSAGES,
            get(async move || Json(entries(&shop.infobip.messages()))),
        )
        .route(
            NEWS_MESSAGES,
            get(async move || Json(entries(&news.engagelab.messages()))),
        );
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the demo's list of messages ended");
        }
    });
    Ok(Sender { address, task })
}
