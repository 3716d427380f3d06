//! A service over your own types: serde on both ends, the application's errors as answers, pairs beside the body.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use np_facade::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    article: String,
    pieces: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    article: String,
    left: u32,
}

/// An error of the application. With a `From`, handlers may use `?` on it.
enum ShopError {
    Unknown(String),
    OutOfStock { left: u32 },
}

impl From<ShopError> for CallError {
    fn from(error: ShopError) -> Self {
        match error {
            ShopError::Unknown(article) => Self::answered(Status::InvalidArgument, format!("we sell no {article}")),
            ShopError::OutOfStock { left } => Self::failed(format!("only {left} left")),
        }
    }
}

#[derive(Default)]
struct Shop {
    stock: Mutex<HashMap<String, u32>>,
}

impl Shop {
    fn buy(&self, order: Order) -> Result<Receipt, ShopError> {
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        let left = stock.get_mut(&order.article).ok_or_else(|| ShopError::Unknown(order.article.clone()))?;
        *left = left.checked_sub(order.pieces).ok_or(ShopError::OutOfStock { left: *left })?;
        Ok(Receipt { article: order.article, left: *left })
    }
}

async fn open_shop() -> Result<Server, np_facade::Error> {
    let shop = Arc::new(Shop { stock: Mutex::new(HashMap::from([("lamp".to_owned(), 3)])) });
    let counter = Arc::clone(&shop);
    Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .on_typed("buy", move |_ctx, order: Order| Ok(shop.buy(order)?))
        .on_typed_async("stock", move |_ctx, article: String| {
            let shop = Arc::clone(&counter);
            async move {
                // Here a real service would wait for its database.
                tokio::time::sleep(Duration::from_millis(1)).await;
                let stock = shop.stock.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(stock.get(&article).copied())
            }
        })
        .start()
        .await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = open_shop().await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();

    let client = Client::connect(&address).await?;
    let order = Order { article: "lamp".to_owned(), pieces: 2 };
    let receipt: Receipt = client.call_as("buy", &order).await?;
    println!("bought: {receipt:?}");
    assert_eq!(receipt.left, 1);

    // The second order is one lamp too large: the handler's own error is the answer.
    match client.call_as::<Receipt>("buy", &order).await {
        Ok(receipt) => return Err(format!("sold what was not there: {receipt:?}").into()),
        Err(error) => {
            println!("refused: {error}");
            assert_eq!((error.status, error.outcome), (Status::Failed, Outcome::Answered));
        }
    }
    let left: Option<u32> = client.call_as("stock", "lamp").await?;
    println!("in stock: {left:?}");
    assert_eq!(left, Some(1));

    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
